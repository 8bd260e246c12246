//! Values that user space writes into the object before loading it.
//!
//! Offsets of kernel structures come from the running kernel's BTF: Rust has no relocations for them.

use aya_ebpf::Global;

/// Declares a setting under its own name.
macro_rules! settings {
    ($($(#[$documentation:meta])* $name:ident),+ $(,)?) => {
        $($(#[$documentation])* #[unsafe(no_mangle)] pub(crate) static $name: Global<u32> = Global::new(0);)+
    };
}

settings! {
    /// Bytes of the ring that content leaves free for process and connection records.
    RING_RESERVE,
    /// The process that reads the ring. Never in the scope of the whole host.
    SENSOR_TGID,
    /// 1 where the kernel has `bpf_get_attach_cookie`.
    COOKIES,
    /// `task_struct.tgid`
    TASK_TGID,
    /// `task_struct.real_parent`
    TASK_REAL_PARENT,
    /// `task_struct.flags`
    TASK_FLAGS,
    /// `task_struct.mm`
    TASK_MM,
    /// `task_struct.signal`
    TASK_SIGNAL,
    /// `task_struct.exit_code`
    TASK_EXIT_CODE,
    /// `task_struct.fs`
    TASK_FS,
    /// `fs_struct.pwd`
    FS_PWD,
    /// `path.dentry`
    PATH_DENTRY,
    /// `dentry.d_inode`
    DENTRY_INODE,
    /// `inode.i_ino`
    INODE_NUMBER,
    /// `mm_struct.arg_start`
    MM_ARG_START,
    /// `mm_struct.arg_end`
    MM_ARG_END,
    /// `signal_struct.live`
    SIGNAL_LIVE,
    /// `linux_binprm.filename`
    BINPRM_FILENAME,
    /// `linux_binprm.interp`
    BINPRM_INTERP,
    /// `sock.sk_protocol`
    SOCK_PROTOCOL,
    /// `sock_common.skc_family`; `struct sock` begins with its `sock_common`.
    SOCK_FAMILY,
    /// `sock_common.skc_num`: this end's port, host byte order.
    SOCK_LOCAL_PORT,
    /// `sock_common.skc_dport`: the other end's port, network byte order.
    SOCK_REMOTE_PORT,
    /// `sock_common.skc_rcv_saddr`
    SOCK_LOCAL_V4,
    /// `sock_common.skc_daddr`
    SOCK_REMOTE_V4,
    /// `sock_common.skc_v6_rcv_saddr`; 0 on a kernel without IPv6.
    SOCK_LOCAL_V6,
    /// `sock_common.skc_v6_daddr`; 0 on a kernel without IPv6.
    SOCK_REMOTE_V6,
    /// `sock.sk_type`
    SOCK_TYPE,
    /// `sock.sk_shutdown`
    SOCK_SHUTDOWN,
    /// `sock.sk_socket`
    SOCK_SOCKET,
    /// `socket_alloc.vfs_inode.i_ino`; `struct socket_alloc` begins with its `socket`.
    SOCKET_INODE_NUMBER,
    /// `unix_sock.peer`; 0 on a kernel whose unix sockets cannot be followed.
    UNIX_PEER,
    /// `task_struct.files`
    TASK_FILES,
    /// `files_struct.fdt`
    FILES_TABLE,
    /// `fdtable.fd`
    TABLE_DESCRIPTORS,
    /// `file.f_inode`
    FILE_INODE,
    /// `inode.i_mode`
    INODE_MODE,
}

/// Since when every process is in scope; 0 where only those of the `SCOPE` map are.
#[unsafe(no_mangle)]
pub(crate) static HOST_SINCE: Global<u64> = Global::new(0);
