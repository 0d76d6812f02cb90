fn main() -> std::io::Result<()> {
    dormouse_sdk::serve(report_writer::configure_agents())
}
