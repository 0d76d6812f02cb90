//! TLS: the command line, and whoever trusts the certificate, reach a server that speaks it.

use super::*;
use rcgen::generate_simple_self_signed;

#[test]
fn deploy_and_send_reach_a_server_with_a_certificate_that_is_trusted() {
    let dir = data_dir();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = generate_simple_self_signed(names).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let flags = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key"];
    let flags = [&flags[..], &[key.to_str().unwrap()]].concat();
    let server = Server::start(dir.path(), &flags);
    assert!(
        server.url.starts_with("https://127.0.0.1:"),
        "{}",
        server.url
    );

    let run = |arguments: &[&str]| {
        let mut command = crate::dormouse(dir.path());
        command.args(arguments).args(["--server", &server.url]);
        command.output().unwrap()
    };
    let echo = guest("echo");
    let echo = echo.to_str().unwrap();
    let stranger = run(&["deploy", echo]);
    let sentence = String::from_utf8_lossy(&stranger.stderr);
    assert!(
        !stranger.status.success() && sentence.contains("--ca"),
        "{sentence}"
    );
    let ca = ["--ca", certificate.to_str().unwrap()];
    let deployed = run(&[&["deploy", echo][..], &ca].concat());
    assert!(deployed.status.success(), "{deployed:?}");
    assert!(
        String::from_utf8_lossy(&deployed.stdout).contains(&server.url),
        "{deployed:?}"
    );
    let sent = run(&[&["send", "echo", "hello"][..], &ca].concat());
    assert!(
        String::from_utf8_lossy(&sent.stdout).contains("hello"),
        "{sent:?}"
    );
    assert!(server.stop().success());
}

#[test]
fn half_of_what_tls_needs_is_wrong_usage() {
    let dir = data_dir();
    let mut command = crate::dormouse(dir.path());
    let refused = command
        .args(["serve", "--tls-cert", "cert.pem"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("--tls-key"),
        "{refused:?}"
    );
}
