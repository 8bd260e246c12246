//! Programs that tests need and no other package has: the test program itself, started anew to run one test, which then
//! plays a role.

use std::process::Command;

use serde_json::Value;

const ROLE: &str = "OISP_TEST_ROLE";

/// What this process was told, where it plays a role.
pub(crate) fn role() -> Option<Value> {
    let told = std::env::var_os(ROLE)?;
    Some(serde_json::from_str(told.to_str().unwrap()).unwrap())
}

/// A command in which this test function plays its role.
pub(crate) fn in_role<Test: Fn()>(_test: Test, told: &Value) -> Command {
    // `kernel::content::some_test`; the harness leaves the program's name out.
    let (_, name) = std::any::type_name::<Test>().split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env(ROLE, told.to_string());
    command
}

/// Prints a line of JSON to whoever started this role; the test harness may have begun a line.
pub(crate) fn say(value: &Value) {
    println!("\n{value}");
}
