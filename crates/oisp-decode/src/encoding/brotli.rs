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
    Failed,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let allocator = StandardAlloc::default;
        Self { state: Box::new(State::new_strict(allocator(), allocator(), allocator())), part: Part::Start }
    }
}

impl Coding for Brotli {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        match self.part {
            Part::Ended | Part::Start if input.is_empty() => return Step::default(),
            // The format knows no concatenation.
            Part::Ended | Part::Failed => return Step::failed(EncodingError::Corrupt),
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
        let mut error = None;
        match result {
            BrotliResult::ResultSuccess => self.part = Part::Ended,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => {
                self.part = Part::Failed;
                error = Some(EncodingError::Corrupt);
            }
        }
        Step { used: used.min(input.len()), made: made.min(out.len()), error }
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
