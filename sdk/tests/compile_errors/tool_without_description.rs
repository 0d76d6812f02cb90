use dormouse_sdk::prelude::*;

#[tool]
async fn nothing(_: ()) -> Result<(), AgentError> {
    Ok(())
}

fn main() {}
