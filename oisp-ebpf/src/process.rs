//! Processes: children of a process in scope are in scope, and their programs and ends are told.

use core::mem::size_of;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated};
use aya_ebpf::programs::RawTracePointContext;
use oisp_ebpf_common::{ARGUMENTS_CAPACITY, ExecRecord, ExitRecord, ForkRecord, PATH_CAPACITY, RecordKind};

use crate::kernel::field;
use crate::programs::Outcome;
use crate::ring;
use crate::scope;
use crate::settings;
use crate::socket;
use crate::tls::now;

/// `PF_KTHREAD` in `include/linux/sched.h`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// `sched_process_fork(parent, child)`: before the child's first instruction.
#[inline(always)]
pub(crate) fn fork(context: &RawTracePointContext) -> Outcome {
    let parent = current_tgid();
    if !scope::contains(parent) {
        return Ok(());
    }
    let child: *const u8 = context.arg(1);
    let child_tgid: u32 = field(child, settings::TASK_TGID.load());
    if child_tgid == parent || child_tgid == 0 {
        // A thread: the same process.
        return Ok(());
    }
    if is_kernel_thread(child) {
        return Ok(());
    }
    let time_ns = now();
    scope::enter(child_tgid, time_ns)?;
    let mut entry = ring::reserve_lifecycle::<ForkRecord>()?;
    entry.write(ForkRecord {
        header: ring::header(RecordKind::Fork, size_of::<ForkRecord>(), time_ns),
        child_tgid,
        reserved: 0,
    });
    entry.submit(0);
    Ok(())
}

/// `sched_process_exec(task, old_pid, bprm)`: after the new program was laid out, before its first instruction.
#[inline(always)]
pub(crate) fn exec(context: &RawTracePointContext) -> Outcome {
    let tgid = current_tgid();
    if !scope::contains(tgid) {
        return Ok(());
    }
    let time_ns = now();
    scope::enter(tgid, time_ns)?;

    let task: *const u8 = context.arg(0);
    let binprm: *const u8 = context.arg(2);
    let parent: *const u8 = field(task, settings::TASK_REAL_PARENT.load());
    let memory: *const u8 = field(task, settings::TASK_MM.load());
    let arguments_start: u64 = field(memory, settings::MM_ARG_START.load());
    let arguments_end: u64 = field(memory, settings::MM_ARG_END.load());
    let filename: *const u8 = field(binprm, settings::BINPRM_FILENAME.load());
    let interpreter: *const u8 = field(binprm, settings::BINPRM_INTERP.load());
    let uid_gid = bpf_get_current_uid_gid();
    let folder: *const u8 = field(task, settings::TASK_FS.load());
    let entry_of_folder: *const u8 = field(folder, settings::FS_PWD.load() + settings::PATH_DENTRY.load());
    let inode: *const u8 = field(entry_of_folder, settings::DENTRY_INODE.load());

    let mut entry = ring::reserve_lifecycle::<ExecRecord>()?;
    let record = entry.as_mut_ptr();
    let total = arguments_end.saturating_sub(arguments_start).min(u64::from(u32::MAX)) as u32;
    // SAFETY: the record is as large as its type; the helpers check the memory that they read and write no more than
    // the sizes given here.
    unsafe {
        (&raw mut (*record).header).write(ring::header(RecordKind::Exec, size_of::<ExecRecord>(), time_ns));
        (&raw mut (*record).parent_tgid).write(field(parent, settings::TASK_TGID.load()));
        (&raw mut (*record).uid).write(uid_gid as u32);
        (&raw mut (*record).gid).write((uid_gid >> 32) as u32);
        (&raw mut (*record).reserved).write(0);
        (&raw mut (*record).working_directory_inode).write(field(inode, settings::INODE_NUMBER.load()));
        (&raw mut (*record).arguments_total).write(total);
        (&raw mut (*record).filename_length)
            .write(kernel_text((&raw mut (*record).filename).cast(), filename));
        (&raw mut (*record).interpreter_length)
            .write(kernel_text((&raw mut (*record).interpreter).cast(), interpreter));

        let destination = (&raw mut (*record).arguments).cast();
        let source = arguments_start as *const _;
        let (length, status) = if total >= ARGUMENTS_CAPACITY as u32 {
            let length = ARGUMENTS_CAPACITY as u32;
            (length, generated::bpf_probe_read_user(destination, length, source))
        } else {
            // As in `ring::write_record`.
            let length = core::hint::black_box(total) & (ARGUMENTS_CAPACITY as u32 - 1);
            (length, generated::bpf_probe_read_user(destination, length, source))
        };
        (&raw mut (*record).arguments_length).write(if status == 0 { length } else { 0 });
    }
    entry.submit(0);
    Ok(())
}

/// `sched_process_exit(task, …)`: of each thread; the process ends with its last one.
#[inline(always)]
pub(crate) fn exit(context: &RawTracePointContext) -> Outcome {
    let tgid = current_tgid();
    if !scope::contains(tgid) {
        return Ok(());
    }
    socket::thread_ends();
    let task: *const u8 = context.arg(0);
    let signal: *const u8 = field(task, settings::TASK_SIGNAL.load());
    let threads_left: i32 = field(signal, settings::SIGNAL_LIVE.load());
    if threads_left > 0 || is_kernel_thread(task) {
        return Ok(());
    }
    scope::leave(tgid);
    let mut entry = ring::reserve_lifecycle::<ExitRecord>()?;
    entry.write(ExitRecord {
        header: ring::header(RecordKind::Exit, size_of::<ExitRecord>(), now()),
        wait_status: field(task, settings::TASK_EXIT_CODE.load()),
        reserved: 0,
    });
    entry.submit(0);
    Ok(())
}

#[inline(always)]
fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The whole host has threads that run no program, and come and go.
#[inline(always)]
fn is_kernel_thread(task: *const u8) -> bool {
    let flags: u32 = field(task, settings::TASK_FLAGS.load());
    flags & KERNEL_THREAD != 0
}

/// Copies a zero-terminated text of the kernel; gives its length without the zero.
///
/// # Safety
/// `destination` has room for [`PATH_CAPACITY`] bytes.
#[inline(always)]
unsafe fn kernel_text(destination: *mut core::ffi::c_void, source: *const u8) -> u32 {
    // SAFETY: the caller's, and the helper checks the source.
    let length =
        unsafe { generated::bpf_probe_read_kernel_str(destination, PATH_CAPACITY as u32, source.cast()) };
    if length > 0 { (length - 1) as u32 } else { 0 }
}
