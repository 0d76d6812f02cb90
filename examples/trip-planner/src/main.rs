fn main() -> std::io::Result<()> {
    dormouse_sdk::serve(trip_planner::configure_agents())
}
