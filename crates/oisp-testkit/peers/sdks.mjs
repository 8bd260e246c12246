// Calls an AI service through its own SDK for Node.js; what it takes and prints is as of sdks.py.

import { createRequire } from "node:module";

const [name, , ...bases] = process.argv.slice(2);
const require = createRequire(`${process.env.OISP_TEST_NODE_MODULES}/`);

const SYSTEM = "Be kind – and brief.";
const SCHEMA = { type: "object", properties: { city: { type: "string" }, zone: { type: "string" } } };
const TOOLS = { get_weather: "The weather", get_time: "The time" };
const FUNCTIONS = Object.entries(TOOLS).map(([name, description]) => ({ name, description, parameters: SCHEMA }));

// URL and version of each request that was really made.
const exchanges = [];

// HTTP/1.1 is Node.js's own fetch; HTTP/2 takes the undici of npm, whose agents speak it.
function transport(http2) {
    let agent;
    let send = fetch;
    if (http2) {
        const undici = require("undici");
        agent = new undici.Agent({ allowH2: true });
        send = undici.fetch;
    }
    const noting = async (url, options) => {
        exchanges.push([String(url?.url ?? url), http2 ? "2" : "1.1"]);
        return send(url, options);
    };
    return http2 ? { fetch: noting, fetchOptions: { dispatcher: agent } } : { fetch: noting };
}

class OpenAiChat {
    speaks = "openai_compatible";
    model = "gpt-5";
    canThink = false;

    constructor(base, http2) {
        const { OpenAI } = require("openai");
        const apiKey = `sk-proj-${"x".repeat(40)}`;
        this.client = new OpenAI({ apiKey, baseURL: `${base}/v1`, maxRetries: 0, ...transport(http2) });
    }

    async ask(turns, tools, stream, into) {
        const messages = turns.map((turn) => {
            const message = { role: turn.role, content: turn.text };
            if (turn.calls) {
                message.content = null;
                message.tool_calls = turn.calls.map(([id, name, given]) => ({
                    id,
                    type: "function",
                    function: { name, arguments: JSON.stringify(given) },
                }));
            }
            if (turn.role === "tool") message.tool_call_id = turn.id;
            return message;
        });
        const request = { model: this.model, messages };
        if (tools) request.tools = FUNCTIONS.map((described) => ({ type: "function", function: described }));
        if (stream) Object.assign(request, { stream, stream_options: { include_usage: true } });
        const answer = await this.client.chat.completions.create(request);
        const calls = [];
        for await (const chunk of stream ? answer : [answer]) {
            into.model = chunk.model;
            if (chunk.usage) into.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
            for (const choice of chunk.choices) {
                const said = stream ? choice.delta : choice.message;
                into.text += said.content ?? "";
                into.finish = choice.finish_reason ?? into.finish;
                for (const [number, call] of (said.tool_calls ?? []).entries()) {
                    const known = (calls[call.index ?? number] ??= [call.id, call.function.name, ""]);
                    known[2] += call.function.arguments;
                }
            }
        }
        into.calls = calls.map(([id, name, given]) => [id, name, JSON.parse(given)]);
    }

    failure(error) {
        return [error.error?.type ?? null, error.error?.message ?? null, error.status ?? null];
    }
}

class OpenAiResponses extends OpenAiChat {
    canThink = true;

    async ask(turns, tools, stream, into) {
        const input = turns.slice(1).flatMap((turn) => {
            if (turn.role === "tool") return [{ type: "function_call_output", call_id: turn.id, output: turn.text }];
            if (!turn.calls) return [{ role: turn.role, content: turn.text }];
            return turn.calls.map(([call_id, name, given]) => ({
                type: "function_call",
                call_id,
                name,
                arguments: JSON.stringify(given),
            }));
        });
        const request = { model: this.model, instructions: turns[0].text, input, stream };
        if (tools) request.tools = FUNCTIONS.map((described) => ({ type: "function", ...described, strict: false }));
        let answer = await this.client.responses.create(request);
        if (stream) {
            for await (const event of answer) {
                if (event.type === "response.created") into.model = event.response.model;
                if (event.type === "response.output_text.delta") into.text += event.delta;
                if (event.type === "response.reasoning_summary_text.delta") into.thinking += event.delta;
                if (event.type === "response.completed") answer = event.response;
                // It is no exception to this SDK.
                if (event.type === "error") into.error = [null, event.message, null];
            }
            if (into.error) return;
        } else {
            into.text = answer.output_text;
            const thoughts = answer.output.filter((item) => item.type === "reasoning");
            into.thinking = thoughts.flatMap((item) => item.summary.map((part) => part.text)).join("");
        }
        [into.model, into.finish] = [answer.model, answer.status];
        into.usage = [answer.usage.input_tokens, answer.usage.output_tokens];
        const called = answer.output.filter((item) => item.type === "function_call");
        into.calls = called.map((call) => [call.call_id, call.name, JSON.parse(call.arguments)]);
    }
}

class Anthropic {
    speaks = "anthropic_compatible";
    model = "claude-opus-4-5";
    canThink = true;

    constructor(base, http2) {
        const { Anthropic } = require("@anthropic-ai/sdk");
        const apiKey = `sk-ant-${"x".repeat(40)}`;
        this.client = new Anthropic({ apiKey, baseURL: base, maxRetries: 0, ...transport(http2) });
    }

    async ask(turns, tools, stream, into) {
        const messages = [];
        for (const turn of turns.slice(1)) {
            if (turn.role === "tool") {
                if (messages.at(-1).role === "assistant") messages.push({ role: "user", content: [] });
                messages.at(-1).content.push({ type: "tool_result", tool_use_id: turn.id, content: turn.text });
                continue;
            }
            const calls = turn.calls?.map(([id, name, input]) => ({ type: "tool_use", id, name, input }));
            messages.push({ role: turn.role, content: calls ?? turn.text });
        }
        const request = { model: this.model, max_tokens: 2048, system: turns[0].text, messages };
        if (tools) {
            request.tools = Object.entries(TOOLS).map(([name, description]) => ({
                name,
                description,
                input_schema: SCHEMA,
            }));
        }
        if (turns[1].text.includes("think")) request.thinking = { type: "enabled", budget_tokens: 1024 };
        const usage = ({ usage: { input_tokens, cache_creation_input_tokens: written, ...more } }) => [
            input_tokens + written + more.cache_read_input_tokens,
            more.output_tokens,
        ];
        let answer;
        if (stream) {
            const events = this.client.messages.stream(request);
            for await (const event of events) {
                if (event.type === "message_start") {
                    into.model = event.message.model;
                    into.usage = usage(event.message);
                }
                into.text += event.delta?.text ?? "";
                into.thinking += event.delta?.thinking ?? "";
            }
            answer = await events.finalMessage();
        } else {
            answer = await this.client.messages.create(request);
            into.text = answer.content.map((block) => block.text ?? "").join("");
            into.thinking = answer.content.map((block) => block.thinking ?? "").join("");
        }
        [into.model, into.finish] = [answer.model, answer.stop_reason];
        into.usage = usage(answer);
        const called = answer.content.filter((block) => block.type === "tool_use");
        into.calls = called.map((call) => [call.id, call.name, call.input]);
    }

    failure(error) {
        return [error.error.error.type, error.error.error.message, error.status ?? null];
    }
}

async function attempt(sdk, kind, turns, tools, stream) {
    const into = { text: "", thinking: "", calls: [] };
    for (const name of ["model", "finish", "usage", "error", "embedding"]) into[name] = null;
    try {
        await sdk.ask(turns, tools, stream, into);
    } catch (error) {
        if (error.error === undefined) throw error;
        into.error = sdk.failure(error);
    }
    if (exchanges.length !== 1) throw new Error(`${exchanges.length} requests`);
    const [[url, http]] = exchanges.splice(0);
    const results = turns.filter((turn) => turn.role === "tool").map(({ id, name, text }) => [id, name, text]);
    const messages = turns.map((turn) => [turn.role, turn.text]);
    const asked = { model: sdk.model, stream, tools: tools ? Object.keys(TOOLS) : [], messages, results };
    const about = { sdk: sdk.constructor.name, kind, speaks: sdk.speaks, pid: process.pid, exe: process.execPath };
    console.log(JSON.stringify({ ...about, url, http, asked, understood: into }));
    return into;
}

async function converse(sdk) {
    const talk = (words) => [{ role: "system", text: SYSTEM }, { role: "user", text: words }];
    for (const stream of [false, true]) {
        const how = stream ? "stream" : "whole";
        await attempt(sdk, how, talk(`Sag »hallo« 👋${sdk.canThink ? ", think first" : ""}`), false, stream);
        const turns = talk(`Weather? (${how})`);
        const { calls } = await attempt(sdk, `${how} tools`, turns, true, stream);
        turns.push({ role: "assistant", text: "", calls });
        for (const [id, name] of calls) turns.push({ role: "tool", id, name, text: `sunny, says ${name} ${how} ☀` });
        await attempt(sdk, `${how} results`, turns, true, stream);
        for (const status of [400, 401, 429]) {
            await attempt(sdk, `${how} ${status}`, talk(`refuse ${status}`), false, stream);
        }
    }
    await attempt(sdk, "break", talk("break"), false, true);
}

const SDKS = { openai: [OpenAiChat, OpenAiResponses], anthropic: [Anthropic] };
for (const [number, base] of bases.entries()) {
    for (const Kind of SDKS[name]) await converse(new Kind(base, number === 1));
}
// Agents would keep their connections, and it alive, for some seconds.
process.exit(0);
