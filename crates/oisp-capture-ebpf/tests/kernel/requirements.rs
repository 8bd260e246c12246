//! What happens where the capture cannot work.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use oisp_capture_ebpf::{EbpfCapture, LoadError, Options};
use serde_json::{Value, json};

use crate::support::{can_record, in_role, line_of, role, say};

#[test]
fn user_without_capabilities_is_told_which_are_missing_and_what_to_do() {
    if role().is_some() {
        let error = EbpfCapture::load(&Options::default()).err().expect("refused");
        let is_requirement = matches!(error, LoadError::Requirement(_));
        return say(&json!({ "requirement": is_requirement, "message": error.to_string() }));
    }
    if !can_record() {
        return;
    }
    // Where that user can execute it.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("program");
    oisp_testkit::programs::copy_program(&std::env::current_exe().unwrap(), &program).unwrap();
    let this = in_role(user_without_capabilities_is_told_which_are_missing_and_what_to_do, &Value::Null);
    let mut command = Command::new(program);
    command.args(this.get_args()).envs(this.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.uid(65534).gid(65534).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = line_of(&mut &output.stdout[..]);
    assert_eq!(told["requirement"], true, "{told}");
    let message = told["message"].as_str().unwrap();
    for part in ["missing CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE", "run as root", "setcap cap_bpf"] {
        assert!(message.contains(part), "{message}");
    }
}
