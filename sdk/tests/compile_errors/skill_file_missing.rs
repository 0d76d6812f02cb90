use dormouse_sdk::include_skill;

fn main() {
    include_skill!("no/such/SKILL.md");
}
