//! `causeway reload`: a running sidecar reads its fleet file again.

use std::process::ExitCode;

use serde_json::Value;

use super::sidecar::{SidecarArgs, address, ask};

/// Asks, and prints what changed, what waits for a restart, and what is wrong.
pub(super) fn run(args: &SidecarArgs) -> anyhow::Result<ExitCode> {
    let Some(address) = address(args)? else {
        return Ok(super::EXIT_USAGE.into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (status, answer) = runtime.block_on(ask(&address, "POST", "/reload", None))?;
    match status {
        200 => {
            print!("{}", describe(&answer));
            Ok(ExitCode::SUCCESS)
        }
        422 => {
            for error in lines(&answer["errors"]) {
                eprintln!("{error}");
            }
            eprintln!("nothing was changed");
            Ok(super::EXIT_USAGE.into())
        }
        _ => {
            eprintln!("{}", answer.as_str().unwrap_or("no answer"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// One line for each thing to know.
fn describe(answer: &Value) -> String {
    let list = |key: &str| lines(&answer[key]).collect::<Vec<_>>();
    let (changed, restart) = (list("changed"), list("needs_restart"));
    let mut text = String::new();
    for warning in list("warnings") {
        text += &format!("{warning}\n");
    }
    if changed.is_empty() {
        text += "nothing changed\n";
    } else {
        text += &format!("changed: {}\n", changed.join(", "));
    }
    if !restart.is_empty() {
        text += &format!("needs a restart: {}\n", restart.join(", "));
    }
    text
}

fn lines(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_reads_what_changed_and_what_did_not() {
        let answer = json!({
            "outcome": "applied",
            "changed": ["link[0].mode", "link[0].rate"],
            "needs_restart": ["route.orders.subjects"],
            "errors": [],
            "warnings": ["causeway.toml:3:1: warning: link[0]: no route uses it"],
        });
        let wanted = "causeway.toml:3:1: warning: link[0]: no route uses it\n\
                      changed: link[0].mode, link[0].rate\n\
                      needs a restart: route.orders.subjects\n";
        assert_eq!(describe(&answer), wanted);
        assert_eq!(describe(&json!({"changed": []})), "nothing changed\n");
    }
}
