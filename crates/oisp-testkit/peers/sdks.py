"""Calls AI services through their own SDKs, one call after the other; prints for each, as a line of JSON, what the SDK
understood of the answer. Takes the server's URL and the file of the authority to trust."""

import json
import os
import sys

BASE, AUTHORITY = sys.argv[1], sys.argv[2]
os.environ["SSL_CERT_FILE"] = AUTHORITY


def say(model, text, calls=(), usage=None, error=None, embedding=None):
    said = {"model": model, "text": text, "calls": [list(call) for call in calls], "usage": usage}
    print(json.dumps({**said, "error": error, "embedding": embedding}), flush=True)


def google():
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="AIza" + "x" * 35, http_options=types.HttpOptions(base_url=BASE))
    models, name = client.models, "gemini-2.5-flash"
    usage = lambda said: [said.prompt_token_count, said.candidates_token_count + said.thoughts_token_count]
    answer = models.generate_content(model=name, contents="Sag hallo")
    say(name, answer.text, usage=usage(answer.usage_metadata))
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather", description="w")])
    config = types.GenerateContentConfig(tools=[tool], system_instruction="be kind")
    text, calls = "", []
    for chunk in models.generate_content_stream(model=name, contents="Wetter?", config=config):
        for part in chunk.candidates[0].content.parts:
            text += part.text or ""
            if part.function_call:
                calls.append([part.function_call.name, part.function_call.args])
    say(name, text, calls, usage(chunk.usage_metadata))


def bedrock():
    import boto3

    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=BASE,
        aws_access_key_id="AKIA" + "X" * 16,
        aws_secret_access_key="x" * 40,
        verify=AUTHORITY,
    )
    messages = [{"role": "user", "content": [{"text": "hi"}]}]
    usage = lambda said: [said["inputTokens"], said["outputTokens"]]
    name = "anthropic.claude-3-haiku-20240307-v1:0"
    answer = client.converse(modelId=name, messages=messages)
    content = answer["output"]["message"]["content"]
    use = content[1]["toolUse"]
    say(name, content[0]["text"], [[use["name"], use["input"]]], usage(answer["usage"]))
    name = "eu.amazon.nova-lite-v1:0"
    text = ""
    for event in client.converse_stream(modelId=name, messages=messages)["stream"]:
        text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        if "metadata" in event:
            counted = usage(event["metadata"]["usage"])
    say(name, text, usage=counted)


def ollama():
    import ollama as sdk

    client = sdk.Client(host=BASE, verify=AUTHORITY)
    text = ""
    for piece in client.chat(model="llama3", messages=[{"role": "user", "content": "hi"}], stream=True):
        text += piece.message.content
    say("llama3", text, usage=[piece.prompt_eval_count, piece.eval_count])
    vectors = client.embed(model="nomic", input=["a", "b"]).embeddings
    say("nomic", None, usage=[4, None], embedding=[len(vectors), len(vectors[0])])


def cohere():
    import cohere as sdk

    client = sdk.ClientV2(api_key="x" * 40, base_url=BASE)
    name, messages = "command-a-03-2025", [{"role": "user", "content": "hi"}]
    usage = lambda said: [int(said.tokens.input_tokens), int(said.tokens.output_tokens)]
    answer = client.chat(model=name, messages=messages)
    say(name, answer.message.content[0].text, usage=usage(answer.usage))
    text = ""
    for event in client.chat_stream(model=name, messages=messages):
        if event.type == "content-delta":
            text += event.delta.message.content.text
        if event.type == "message-end":
            counted = usage(event.delta.usage)
    say(name, text, usage=counted)


def openai():
    import openai as sdk

    client = sdk.OpenAI(api_key="sk-proj-" + "x" * 40, base_url=f"{BASE}/v1", max_retries=0)
    usage = lambda said: [said.input_tokens, said.output_tokens]
    answer = client.responses.create(model="gpt-5", input="weather?", instructions="be brief")
    call = answer.output[0]
    say("gpt-5", None, [[call.name, json.loads(call.arguments)]], usage(answer.usage))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    conversation = [{"role": "user", "content": "weather?"}, call.model_dump(exclude_none=True), result]
    text = ""
    for event in client.responses.create(model="gpt-5", input=conversation, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            counted = usage(event.response.usage)
    say("gpt-5", text, usage=counted)
    name = "text-embedding-3-small"
    answer = client.embeddings.create(model=name, input=["a", "b"])
    vectors = [entry.embedding for entry in answer.data]
    say(name, None, usage=[answer.usage.prompt_tokens, None], embedding=[len(vectors), len(vectors[0])])
    try:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "refuse this"}])
    except sdk.RateLimitError as error:
        say("gpt-4o", None, error=error.type)


def mistral():
    from mistralai.client import Mistral

    client = Mistral(api_key="x" * 32, server_url=BASE)
    name, text = "mistral-large-latest", ""
    for event in client.chat.stream(model=name, messages=[{"role": "user", "content": "hi"}]):
        text += event.data.choices[0].delta.content or ""
    usage = event.data.usage
    say(name, text, usage=[usage.prompt_tokens, usage.completion_tokens])


for sdk in (google, bedrock, ollama, cohere, openai, mistral):
    sdk()
