//! What a call is charged for: its tokens by kind, each counted once.

use oisp_event::Usage;
use serde_json::{Map, Value};

use super::Estimate;
use super::table::{Amount, Amounts};
use crate::json::count;

/// Tokens of one kind of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Media {
    input: u64,
    cached: u64,
    output: u64,
}

/// Tokens, and what is counted by the piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Billed {
    /// All of the input.
    input: u64,
    cache_read: u64,
    /// For the usual time; longer ones apart.
    cache_write: u64,
    cache_write_1h: u64,
    /// All of the output.
    output: Option<u64>,
    audio: Media,
    image: Media,
    web_searches: u64,
}

impl Billed {
    /// Of a normalised usage and the original that it was made from; `None` where the input is not known.
    pub(super) fn read(usage: &Usage, extension: &Map<String, Value>) -> Option<Self> {
        let original = extension.get("usage").unwrap_or(&Value::Null);
        let written = extension.get("cache_write_tokens").and_then(Value::as_u64).unwrap_or(0);
        let long = long_writes(original).min(written);
        Some(Self {
            input: usage.prompt_tokens?,
            cache_read: usage.cached_tokens.unwrap_or(0),
            cache_write: written - long,
            cache_write_1h: long,
            output: usage.completion_tokens,
            audio: media(original, "audio"),
            image: media(original, "image"),
            web_searches: original
                .get("server_tool_use")
                .and_then(|used| count(used, "web_search_requests"))
                .unwrap_or(0),
        })
    }

    /// By prices; `None` where one is missing that most of the cost depends on, or where the counts contradict each other.
    pub(super) fn cost(&self, amounts: &Amounts) -> Option<Estimate> {
        let price = |amount: &Option<Amount>| amount.as_ref().map(|amount| amount.at(self.input));
        let input_price = price(&amounts.input)?;
        // A kind without a price of its own is charged like the rest.
        let read_price = price(&amounts.cache_read).unwrap_or(input_price);
        let write_price = price(&amounts.cache_write).unwrap_or(input_price);
        let long_price = price(&amounts.cache_write_1h).unwrap_or(write_price);
        let audio_price = price(&amounts.input_audio).unwrap_or(input_price);
        let image_price = price(&amounts.input_image).unwrap_or(input_price);

        let read_media = self.audio.cached.checked_add(self.image.cached)?;
        let read = self.cache_read.checked_sub(read_media)?;
        let fresh_audio = self.audio.input.checked_sub(self.audio.cached)?;
        let fresh_image = self.image.input.checked_sub(self.image.cached)?;
        let apart = [self.cache_read, self.cache_write, self.cache_write_1h, fresh_audio, fresh_image]
            .into_iter()
            .try_fold(0u64, u64::checked_add)?;
        let text = self.input.checked_sub(apart)?;
        let input = million(text, input_price)
            + million(read, read_price)
            + million(self.audio.cached, price(&amounts.cache_audio_read).unwrap_or(read_price))
            + million(self.image.cached, price(&amounts.cache_image_read).unwrap_or(read_price))
            + million(self.cache_write, write_price)
            + million(self.cache_write_1h, long_price)
            + million(fresh_audio, audio_price)
            + million(fresh_image, image_price);

        let output = match (self.output, price(&amounts.output)) {
            (None, Some(_)) => return None,
            // Embeddings have no output, and models without a price for it no other.
            (None | Some(0), None) => 0.0,
            (Some(_), None) => return None,
            (Some(output), Some(output_price)) => {
                let text = output.checked_sub(self.audio.output)?.checked_sub(self.image.output)?;
                million(text, output_price)
                    + million(self.audio.output, price(&amounts.output_audio).unwrap_or(output_price))
                    + million(self.image.output, price(&amounts.output_image).unwrap_or(output_price))
            }
        };
        let mut excludes = Vec::new();
        let searches = match price(&amounts.web_search) {
            Some(price) => thousand(self.web_searches, price),
            None => {
                if self.web_searches > 0 {
                    excludes.push("web_search");
                }
                0.0
            }
        };
        let request = price(&amounts.request).map_or(0.0, |price| thousand(1, price));
        let total_usd = input + output + searches + request;
        Some(Estimate { input_usd: input, output_usd: output, total_usd, model: String::new(), excludes })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^53")]
fn million(tokens: u64, price: f64) -> f64 {
    tokens as f64 * price / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn thousand(pieces: u64, price: f64) -> f64 {
    pieces as f64 * price / 1e3
}

/// Tokens written to a cache for an hour: Anthropic's `cache_creation`, Bedrock's `cacheDetails`.
fn long_writes(original: &Value) -> u64 {
    let anthropic =
        original.get("cache_creation").and_then(|kinds| count(kinds, "ephemeral_1h_input_tokens"));
    let bedrock = || {
        let details = original.get("cacheDetails")?.as_array()?;
        let long = details.iter().filter(|detail| detail.get("ttl").and_then(Value::as_str) == Some("1h"));
        Some(long.filter_map(|detail| count(detail, "inputTokens")).fold(0, u64::saturating_add))
    };
    anthropic.or_else(bedrock).unwrap_or(0)
}

/// Tokens of a kind of content, as OpenAI's details or Gemini's lists of modalities have them.
fn media(original: &Value, kind: &str) -> Media {
    let key = format!("{kind}_tokens");
    let first =
        |groups: &[&str]| groups.iter().find_map(|group| count(original.get(group)?, &key)).unwrap_or(0);
    let listed = |list: &str| {
        let entries = original.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_kind = |entry: &&Value| {
            let modality = entry.get("modality").and_then(Value::as_str);
            modality.is_some_and(|modality| modality.eq_ignore_ascii_case(kind))
        };
        entries
            .iter()
            .filter(is_kind)
            .filter_map(|entry| count(entry, "tokenCount"))
            .fold(0, u64::saturating_add)
    };
    let inputs = ["prompt_tokens_details", "input_tokens_details", "input_token_details"];
    let outputs = ["completion_tokens_details", "output_tokens_details", "output_token_details"];
    let cached = inputs
        .iter()
        .find_map(|group| count(original.get(group)?.get("cached_tokens_details")?, &key))
        .unwrap_or(0);
    Media {
        input: first(&inputs).max(listed("promptTokensDetails")),
        cached: cached.max(listed("cacheTokensDetails")),
        output: first(&outputs).max(listed("candidatesTokensDetails")),
    }
}
