//! `wasi:config` as agents have it: texts that the operator has set for their agent.

use super::GuestState;
use std::collections::BTreeMap;
use wasmtime::component::{HasSelf, Linker};

mod wit {
    //! wasi:config 0.2.0-rc.1 (<https://github.com/WebAssembly/wasi-config>). The engine's crate for it keeps a map in
    //! each store; here instances of a version share one.
    wasmtime::component::bindgen!({
        inline: "
            package wasi:config@0.2.0-rc.1;

            interface store {
                variant error {
                    upstream(string),
                    io(string),
                }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }

            world imports {
                import store;
            }
        ",
        imports: { default: trappable },
    });
}

use wit::wasi::config::store;

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl GuestState {
    /// Empty at deploy.
    fn config(&self) -> Option<&BTreeMap<String, String>> {
        self.http.version().map(|version| &*version.config)
    }
}

impl store::Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        let value = self.config().and_then(|config| config.get(&key));
        Ok(Ok(value.cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        let all = self.config().into_iter().flatten();
        Ok(Ok(all
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()))
    }
}
