fn main() -> std::io::Result<()> {
    dormouse_sdk::serve(coordinator::configure_agents())
}
