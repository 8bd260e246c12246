"""AWS's SDK for Bedrock, by its own interface for chats and with the bodies of the models' own services."""

import contextlib
import json

from sdk_clients import ANTHROPIC_TOOLS, SCHEMA, TOOLS, Sdk, anthropic_messages, anthropic_usage

# URL and version of each request; it speaks HTTP/1.1 alone.
exchanges = []


class Bedrock(Sdk):
    speaks = "aws_bedrock"
    model = "eu.amazon.nova-lite-v1:0"

    def __init__(self, base, http2, authority):
        import boto3
        from botocore.config import Config

        self.client = boto3.client(
            "bedrock-runtime",
            region_name="eu-central-1",
            endpoint_url=base,
            aws_access_key_id="AKIA" + "X" * 16,
            aws_secret_access_key="x" * 40,
            verify=authority,
            config=Config(retries={"total_max_attempts": 1}),
        )
        note = lambda request, **_: exchanges.append([request.url, "1.1"])
        self.client.meta.events.register("before-send.bedrock-runtime", note)

    def ask(self, turns, tools, stream, into):
        messages = []
        for turn in turns[1:]:
            parts = [{"text": turn["text"]}] if turn["text"] and turn["role"] != "tool" else []
            for id, name, given in turn.get("calls", []):
                parts.append({"toolUse": {"toolUseId": id, "name": name, "input": given}})
            if turn["role"] == "tool":
                result = {"toolResult": {"toolUseId": turn["id"], "content": [{"text": turn["text"]}]}}
                if messages[-1]["role"] == "user":
                    messages[-1]["content"].append(result)
                    continue
                parts.append(result)
            messages.append({"role": "assistant" if turn["role"] == "assistant" else "user", "content": parts})
        more = {"modelId": self.model, "system": [{"text": turns[0]["text"]}], "messages": messages}
        if tools:
            specify = lambda name, about: {"name": name, "description": about, "inputSchema": {"json": SCHEMA}}
            more["toolConfig"] = {"tools": [{"toolSpec": specify(*tool)} for tool in TOOLS.items()]}
        count = lambda usage: [usage["inputTokens"], usage["outputTokens"]]
        if not stream:
            answer = self.client.converse(**more)
            for block in answer["output"]["message"]["content"]:
                into.text += block.get("text", "")
                into.thinking += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
                if use := block.get("toolUse"):
                    into.calls.append([use["toolUseId"], use["name"], use["input"]])
            into.finish, into.usage = answer["stopReason"], count(answer["usage"])
            return
        uses = []
        for event in self.client.converse_stream(**more)["stream"]:
            if "contentBlockStart" in event:
                use = event["contentBlockStart"]["start"]["toolUse"]
                uses.append([use["toolUseId"], use["name"], ""])
            delta = event.get("contentBlockDelta", {}).get("delta", {})
            into.text += delta.get("text", "")
            into.thinking += delta.get("reasoningContent", {}).get("text", "")
            if "toolUse" in delta:
                uses[-1][2] += delta["toolUse"]["input"]
            into.finish = event.get("messageStop", {}).get("stopReason", into.finish)
            if "metadata" in event:
                into.usage = count(event["metadata"]["usage"])
        into.calls = [[id, name, json.loads(given)] for id, name, given in uses]

    def failures(self):
        from botocore.exceptions import ClientError

        return ClientError

    def failure(self, error):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return [error.response["Error"]["Code"], error.response["Error"]["Message"], status]


class BedrockInvoke(Bedrock):
    """With the bodies of the model's own service."""

    model = "anthropic.claude-3-haiku-20240307-v1:0"

    def ask(self, turns, tools, stream, into):
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 2048, "system": turns[0]["text"]}
        body |= {"messages": anthropic_messages(turns[1:]), **({"tools": ANTHROPIC_TOOLS} if tools else {})}
        given = {"modelId": self.model, "body": json.dumps(body)}
        if not stream:
            answer = json.loads(self.client.invoke_model(**given)["body"].read())
            blocks = answer["content"]
        else:
            blocks = []
            for event in self.client.invoke_model_with_response_stream(**given)["body"]:
                event = json.loads(event["chunk"]["bytes"])
                delta = event.get("delta", {})
                if event["type"] == "message_start":
                    answer, into.model = event["message"], event["message"]["model"]
                    into.usage = anthropic_usage(answer["usage"])
                if event["type"] == "content_block_start":
                    blocks.append({**event["content_block"], "given": ""})
                into.text += delta.get("text", "")
                into.thinking += delta.get("thinking", "")
                if "partial_json" in delta:
                    blocks[-1]["given"] += delta["partial_json"]
                    with contextlib.suppress(ValueError):
                        blocks[-1]["input"] = json.loads(blocks[-1]["given"])
                if event["type"] == "message_delta":
                    answer = answer | {"usage": answer["usage"] | event["usage"], "stop_reason": delta["stop_reason"]}
        if not stream:
            into.text = "".join(block.get("text", "") for block in blocks)
            into.thinking = "".join(block.get("thinking", "") for block in blocks)
        into.model, into.finish = answer["model"], answer["stop_reason"]
        into.usage = anthropic_usage(answer["usage"])
        into.calls = [[use["id"], use["name"], use["input"]] for use in blocks if use["type"] == "tool_use"]
