"""Writes the price table of the package genai-prices as the compact JSON that crates/oisp-ai reads.

Run by `cargo xtask update-prices` in an environment that has the package. Prints the table.
"""

import datetime
import json
import re
import sys
from importlib import metadata

from genai_prices import types
from genai_prices.data import providers

# Services that report the price of a call themselves, or that resell under names of their own.
SKIPPED = {"openrouter", "cursor", "quicksilverpro", "typesafe", "modal", "openai-decisions", "elevenlabs"}

# What the estimate knows how to count; a model with any other price is skipped if it has no price for tokens.
KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cache_audio_read",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "cache_image_read_mtok": "cache_image_read",
    "web_searches_kcount": "web_search",
    "requests_kcount": "request",
}


# A look ahead at the beginning, over all that it stands for: the reader's patterns have none.
NOT = re.compile(r"\^\(\?!(.*)\)\Z", re.DOTALL)


def pattern(text):
    refused = NOT.match(text)
    if refused:
        return {"not": {"re": f"^(?:{refused.group(1)})"}}
    if "(?" in text.replace("(?:", "").replace("(?i)", ""):
        raise SystemExit(f"a pattern that the reader does not have: {text}")
    return {"re": text}


def clause(logic):
    match logic:
        case types.ClauseStartsWith():
            return {"start": logic.starts_with}
        case types.ClauseEndsWith():
            return {"end": logic.ends_with}
        case types.ClauseContains():
            return {"has": logic.contains}
        case types.ClauseRegex():
            return pattern(logic.regex if isinstance(logic.regex, str) else logic.regex.pattern)
        case types.ClauseEquals():
            return {"is": logic.equals}
        case types.ClauseOr():
            return {"or": [clause(one) for one in logic.or_]}
        case types.ClauseAnd():
            return {"and": [clause(one) for one in logic.and_]}
    raise SystemExit(f"a match that is not known: {logic!r}")


def amount(price):
    if isinstance(price, types.TieredPrices):
        return {"base": float(price.base), "above": [[tier.start, float(tier.price)] for tier in price.tiers]}
    return {"base": float(price)}


def prices(model_price):
    found, others = {}, []
    for key, value in vars(model_price).items():
        if value is None or key.startswith("_"):
            continue
        if key in KEYS:
            found[KEYS[key]] = amount(value)
        else:
            others.append(key)
    if others:
        found["others"] = sorted(others)
    return found


def when(constraint):
    match constraint:
        case None:
            return {}
        case types.StartDateConstraint():
            return {"from": constraint.start_date.isoformat()}
        case types.TimeOfDateConstraint():
            seconds = [
                time.hour * 3600 + time.minute * 60 + time.second
                for time in (constraint.start_time, constraint.end_time)
            ]
            for time in (constraint.start_time, constraint.end_time):
                if time.tzinfo is not None and time.utcoffset() != datetime.timedelta(0):
                    raise SystemExit(f"a time that is not UTC: {time!r}")
            return {"between": seconds}
    raise SystemExit(f"a constraint that is not known: {constraint!r}")


def model(info):
    listed = info.prices if isinstance(info.prices, list) else [types.ConditionalPrice(prices=info.prices)]
    entry = {
        "id": info.id,
        "match": clause(info.match),
        "prices": [{**when(one.constraint), **prices(one.prices)} for one in listed],
    }
    variants = [
        {"when": one.when, **when(one.constraint), **prices(one.prices)}
        for one in getattr(info, "price_variants", None) or []
    ]
    if variants:
        entry["variants"] = variants
    return entry


def main():
    table = {
        "source": "https://github.com/pydantic/genai-prices",
        "licence": "MIT, Copyright (c) Pydantic Services Inc. 2025 to present",
        "version": metadata.version("genai-prices"),
        "date": sys.argv[1],
        "providers": [
            {
                "id": provider.id,
                "others": provider.fallback_model_providers or [],
                "models": [model(info) for info in provider.models],
            }
            for provider in providers
            if provider.id not in SKIPPED and not provider.id.startswith("huggingface_")
        ],
    }
    # A line for each model, so that a change can be read.
    print("{")
    for key in ("source", "licence", "version", "date"):
        print(f" {json.dumps(key)}: {json.dumps(table[key])},")
    print(' "providers": [')
    for at, provider in enumerate(table["providers"]):
        print(f'  {{"id": {json.dumps(provider["id"])}, "others": {json.dumps(provider["others"])}, "models": [')
        lines = [json.dumps(one, separators=(",", ":")) for one in provider["models"]]
        print(",\n".join(f"   {line}" for line in lines))
        print("  ]}" + ("," if at + 1 < len(table["providers"]) else ""))
    print(" ]\n}")


main()
