//! Who and where: host, user, process.

use oisp_event::{Actor, Cloud, Container, Host, Kubernetes, ParentProcess, Process};

use super::Redact;
use crate::arguments::redact_command_line;
use crate::redactor::Scrubber;

impl Redact for Host {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { hostname, device_id, os, os_version, arch, kernel_version, cloud, container, k8s, tags } =
            self;
        for label in [hostname, device_id, os, os_version, arch, kernel_version] {
            scrub.optional_label(label);
        }
        cloud.redact(scrub);
        container.redact(scrub);
        k8s.redact(scrub);
        scrub.labels(tags);
    }
}

impl Redact for Cloud {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { provider: _, region, instance_id, instance_type } = self;
        for label in [region, instance_id, instance_type] {
            scrub.optional_label(label);
        }
    }
}

impl Redact for Container {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { id, name, image, runtime: _ } = self;
        // As of a program: which one it was is what an event is for.
        for label in [id, name, image] {
            scrub.optional_label(label);
        }
    }
}

impl Redact for Kubernetes {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { namespace, pod_uid } = self;
        for label in [namespace, pod_uid] {
            scrub.optional_label(label);
        }
    }
}

impl Redact for Actor {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { uid: _, gid: _, user } = self;
        // The numeric id tells users apart without naming them.
        scrub.hidden_text(user);
    }
}

impl Redact for Process {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { pid: _, ppid: _, exe, name, cmdline, cwd, start_time: _, parent, ancestors, thread_id: _ } =
            self;
        redact_program(exe, name, scrub);
        match cmdline {
            Some(line) if !scrub.hides_content() => redact_command_line(line, scrub),
            _ => scrub.hidden_text(cmdline),
        }
        scrub.hidden_text(cwd);
        parent.redact(scrub);
        ancestors.redact(scrub);
    }
}

impl Redact for ParentProcess {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { pid: _, exe, name } = self;
        redact_program(exe, name, scrub);
    }
}

/// The program's file name stays in every mode: which process made a call is what an event is for.
fn redact_program(exe: &mut Option<String>, name: &mut Option<String>, scrub: &mut Scrubber<'_>) {
    for program in [exe, name].into_iter().flatten() {
        scrub.program(program);
    }
}
