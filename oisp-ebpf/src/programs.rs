//! The entry points: one for each probed function and tracepoint.

use aya_ebpf::macros::{raw_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext, RetProbeContext};
use oisp_ebpf_common::{CloseReason, Counter, Direction, Function};

use crate::maps::count;
use crate::{aead, cookie, go, process, socket, stream, tls};

/// What a program could not do. Each is a counter; none stops the target.
pub(crate) type Outcome = Result<(), Counter>;

fn conclude(outcome: Outcome) -> u32 {
    if let Err(counter) = outcome {
        count(counter, 1);
    }
    0
}

/// `int SSL_read(SSL *ssl, void *buf, int num)`
#[uprobe]
pub(crate) fn ssl_read(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslRead, Direction::Received, None))
}

/// `int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`
#[uprobe]
pub(crate) fn ssl_read_ex(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslReadEx, Direction::Received, Some(3)))
}

/// `int SSL_write(SSL *ssl, const void *buf, int num)`
#[uprobe]
pub(crate) fn ssl_write(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslWrite, Direction::Sent, None))
}

/// `int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)`
#[uprobe]
pub(crate) fn ssl_write_ex(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslWriteEx, Direction::Sent, Some(3)))
}

/// `int SSL_write_ex2(SSL *ssl, const void *buf, size_t num, uint64_t flags, size_t *written)`
#[uprobe]
pub(crate) fn ssl_write_ex2(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslWriteEx2, Direction::Sent, Some(4)))
}

/// `int ssl_read_internal(SSL *s, void *buf, size_t num, size_t *readbytes)`
#[uprobe]
pub(crate) fn ssl_read_internal(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslReadInternal, Direction::Received, Some(3)))
}

/// `int ssl_write_internal(SSL *s, const void *buf, size_t num, uint64_t flags, size_t *written)`
#[uprobe]
pub(crate) fn ssl_write_internal(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslWriteInternal, Direction::Sent, Some(4)))
}

/// `int ssl_write_internal(SSL *s, const void *buf, size_t num, size_t *written)`: before OpenSSL 3.3.
#[uprobe]
pub(crate) fn ssl_write_internal_without_flags(context: ProbeContext) -> u32 {
    conclude(tls::enter(&context, Function::SslWriteInternal, Direction::Sent, Some(3)))
}

/// The return of any of them.
#[uretprobe]
pub(crate) fn ssl_return(context: RetProbeContext) -> u32 {
    conclude(tls::leave(&context, tls::stack_after_return(&context)))
}

/// The same at an instruction by which the function is left.
#[uprobe]
pub(crate) fn ssl_return_instruction(context: ProbeContext) -> u32 {
    conclude(tls::leave(&context, tls::stack_within(&context, cookie::of(&context))))
}

/// `SSL *SSL_new(SSL_CTX *ctx)`: what it returns begins.
#[uretprobe]
pub(crate) fn ssl_new_return(context: RetProbeContext) -> u32 {
    conclude(tls::begin(&context))
}

/// The same at an instruction by which the function is left.
#[uprobe]
pub(crate) fn ssl_new_return_instruction(context: ProbeContext) -> u32 {
    conclude(tls::begin(&context))
}

/// `void SSL_free(SSL *ssl)`
#[uprobe]
pub(crate) fn ssl_free(context: ProbeContext) -> u32 {
    conclude(tls::close(&context, CloseReason::Freed))
}

/// `int SSL_clear(SSL *ssl)`
#[uprobe]
pub(crate) fn ssl_clear(context: ProbeContext) -> u32 {
    conclude(tls::close(&context, CloseReason::Cleared))
}

/// `int EVP_AEAD_CTX_seal(ctx, out, out_len, max_out_len, nonce, nonce_len, in, in_len, ad, ad_len)`
#[uprobe]
pub(crate) fn aead_seal(context: ProbeContext) -> u32 {
    conclude(aead::seal(&context, Function::AeadSeal, &aead::SEAL))
}

/// `int EVP_AEAD_CTX_seal_scatter(ctx, out, out_tag, out_tag_len, max_out_tag_len, nonce, nonce_len, in, in_len, extra_in,
/// extra_in_len, ad, ad_len)`
#[uprobe]
pub(crate) fn aead_seal_scatter(context: ProbeContext) -> u32 {
    conclude(aead::seal(&context, Function::AeadSealScatter, &aead::SEAL_SCATTER))
}

/// `int EVP_AEAD_CTX_open(ctx, out, out_len, max_out_len, nonce, nonce_len, in, in_len, ad, ad_len)`
#[uprobe]
pub(crate) fn aead_open(context: ProbeContext) -> u32 {
    conclude(aead::open(&context, Function::AeadOpen, &aead::OPEN))
}

/// `int EVP_AEAD_CTX_open_gather(ctx, out, nonce, nonce_len, in, in_len, in_tag, in_tag_len, ad, ad_len)`
#[uprobe]
pub(crate) fn aead_open_gather(context: ProbeContext) -> u32 {
    conclude(aead::open(&context, Function::AeadOpenGather, &aead::OPEN_GATHER))
}

/// `fn(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], …)`
#[uprobe]
pub(crate) fn ring_seal(context: ProbeContext) -> u32 {
    conclude(aead::ring_seal(&context))
}

/// `fn(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8], src: RangeFrom<usize>, …)`
#[uprobe]
pub(crate) fn ring_open(context: ProbeContext) -> u32 {
    conclude(aead::ring_open(&context))
}

/// The return of any opening function.
#[uretprobe]
pub(crate) fn aead_opened(context: RetProbeContext) -> u32 {
    conclude(aead::opened(&context, tls::stack_after_return(&context)))
}

/// The same at an instruction by which the function is left.
#[uprobe]
pub(crate) fn aead_opened_instruction(context: ProbeContext) -> u32 {
    conclude(aead::opened(&context, tls::stack_within(&context, cookie::of(&context))))
}

/// `func (c *tls.Conn) Read(b []byte) (int, error)`
#[uprobe]
pub(crate) fn go_read(context: ProbeContext) -> u32 {
    conclude(go::enter(&context, Function::GoRead, Direction::Received))
}

/// `func (c *tls.Conn) Write(b []byte) (int, error)`
#[uprobe]
pub(crate) fn go_write(context: ProbeContext) -> u32 {
    conclude(go::enter(&context, Function::GoWrite, Direction::Sent))
}

/// An instruction by which either of them is left.
#[uprobe]
pub(crate) fn go_return(context: ProbeContext) -> u32 {
    conclude(go::leave(&context))
}

/// `func (c *tls.Conn) Close() error`
#[uprobe]
pub(crate) fn go_close(context: ProbeContext) -> u32 {
    conclude(go::close(&context))
}

/// `func (c *tls.Conn) clientHandshake(ctx context.Context) error`
#[uprobe]
pub(crate) fn go_client_handshake(context: ProbeContext) -> u32 {
    conclude(go::begin(&context, true))
}

/// `func (c *tls.Conn) serverHandshake(ctx context.Context) error`
#[uprobe]
pub(crate) fn go_server_handshake(context: ProbeContext) -> u32 {
    conclude(go::begin(&context, false))
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn process_fork(context: RawTracePointContext) -> i32 {
    conclude(process::fork(&context)).cast_signed()
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn process_exec(context: RawTracePointContext) -> i32 {
    conclude(process::exec(&context)).cast_signed()
}

/// `sched_process_exit(struct task_struct *p, …)`
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(context: RawTracePointContext) -> i32 {
    conclude(process::exit(&context)).cast_signed()
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub(crate) fn socket_sent(context: RawTracePointContext) -> i32 {
    conclude(socket::sent(&context)).cast_signed()
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)`
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub(crate) fn socket_received(context: RawTracePointContext) -> i32 {
    conclude(socket::received(&context)).cast_signed()
}

/// `sys_exit(struct pt_regs *regs, long ret)`
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn system_call(context: RawTracePointContext) -> i32 {
    conclude(stream::system_call_returned(&context)).cast_signed()
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn socket_state(context: RawTracePointContext) -> i32 {
    conclude(socket::state_changed(&context)).cast_signed()
}
