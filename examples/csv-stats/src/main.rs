fn main() -> std::io::Result<()> {
    dormouse_sdk::serve(csv_stats::configure_agents())
}
