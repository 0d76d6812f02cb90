fn main() -> std::io::Result<()> {
    dormouse_sdk::serve(travel_adviser::configure_agents())
}
