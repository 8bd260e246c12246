//! Brotli (RFC 7932).

use brotli_decompressor::{
    BrotliDecompressStream, BrotliResult, BrotliState, HuffmanTreeGroup, SliceWrapper, StandardAlloc,
};

use super::{Coding, EncodingError, Step};

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// State of a brotli stream. Its ring buffer grows with what was decoded, up to the 16 MiB that the
/// format allows; the extension for larger windows is refused.
pub(super) struct Brotli {
    state: Box<State>,
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// No byte came yet.
    Start,
    Data,
    Ended,
    /// Broken: what was decoded before is still to be handed out.
    Failed,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let allocator = StandardAlloc::default;
        Self { state: Box::new(State::new_strict(allocator(), allocator(), allocator())), part: Part::Start }
    }
}

impl Brotli {
    /// After an error: what was decoded before it. The library keeps that in its ring buffer, from
    /// which it only writes when the input is used up or the buffer is full.
    fn hand_out(&mut self, used: usize, made: usize, out: &mut [u8]) -> Step {
        let state = &mut *self.state;
        let size = u64::try_from(state.ringbuffer_size).unwrap_or(0);
        let decoded = state
            .rb_roundtrips
            .saturating_mul(size)
            .saturating_add(u64::try_from(state.pos).unwrap_or(0))
            .saturating_sub(state.partial_pos_out);
        let start = state.partial_pos_out & u64::try_from(state.ringbuffer_mask).unwrap_or(0);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let left = state.ringbuffer.slice().get(start..).unwrap_or_default();
        let left = &left[..usize::try_from(decoded).unwrap_or(usize::MAX).min(left.len())];
        let room = &mut out[made..];
        let length = left.len().min(room.len());
        room[..length].copy_from_slice(&left[..length]);
        state.partial_pos_out = state.partial_pos_out.saturating_add(length as u64);
        let error = (length == left.len()).then_some(EncodingError::Corrupt);
        Step { used, made: made + length, error }
    }
}

impl Coding for Brotli {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        match self.part {
            Part::Ended | Part::Start if input.is_empty() => return Step::default(),
            // The format knows no concatenation.
            Part::Ended => return Step::failed(EncodingError::Corrupt),
            Part::Failed => return self.hand_out(0, 0, out),
            Part::Start | Part::Data => self.part = Part::Data,
        }
        let (mut input_left, mut used) = (input.len(), 0);
        let (mut output_left, mut made) = (out.len(), 0);
        let mut total = 0;
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut used,
            input,
            &mut output_left,
            &mut made,
            out,
            &mut total,
            &mut self.state,
        );
        let (used, made) = (used.min(input.len()), made.min(out.len()));
        match result {
            BrotliResult::ResultSuccess => self.part = Part::Ended,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => {
                self.part = Part::Failed;
                return self.hand_out(used, made, out);
            }
        }
        Step { used, made, error: None }
    }

    fn is_at_end(&self) -> bool {
        matches!(self.part, Part::Start | Part::Ended)
    }

    fn buffered_bytes(&self) -> usize {
        fn group(trees: &HuffmanTreeGroup<StandardAlloc, StandardAlloc>) -> usize {
            trees.htrees.slice().len() * 4 + std::mem::size_of_val(trees.codes.slice())
        }
        let state = &*self.state;
        size_of::<State>()
            + state.ringbuffer.slice().len()
            + group(&state.literal_hgroup)
            + group(&state.insert_copy_hgroup)
            + group(&state.distance_hgroup)
            + state.context_map.slice().len()
            + state.dist_context_map.slice().len()
            + std::mem::size_of_val(state.block_type_length_state.block_type_trees.slice())
            + std::mem::size_of_val(state.block_type_length_state.block_len_trees.slice())
            + std::mem::size_of_val(state.context_map_table.slice())
    }
}
