"""Calls iSulad's methods in the ways of isula, and prints a line for each.

isulad_client.py TARGET [DIR]: DIR has ca.pem, cert.pem and key.pem for TLS.
isulad_client.py TARGET hold: opens a stream, prints "open", and then how it ends.
"""

import queue
import sys

import grpc

SIZE = 3200  # messages of 32 KiB
METADATA = (("username", "root"), ("tls_mode", "0"), ("isulad-remote-exec", '{"argv":["sh"]}'))


def raw(message):
    return message


def attempt(name, call):
    try:
        result = call()
    except grpc.RpcError as e:
        result = e.code().name + " " + e.details()
    print(name + ":", result, flush=True)


def unary(method, message=b"", timeout=60):
    call = channel.unary_unary(service + method, raw, raw)
    return call(message, metadata=METADATA, timeout=timeout).decode()


def download(method, count):
    call = channel.unary_stream(service + method, raw, raw)
    return sum(map(len, call(b"%d" % count, metadata=METADATA, timeout=60)))


def upload():
    call = channel.stream_stream(service + "CopyToContainer", raw, raw)
    messages = (b"y" * 32768 for _ in range(SIZE))
    return sum(map(len, call(messages, metadata=METADATA, timeout=60)))


def converse(method):
    messages = queue.Queue()
    call = channel.stream_stream(service + method, raw, raw)
    call = call(iter(messages.get, None), metadata=METADATA, timeout=60)
    try:
        texts = [dict(call.initial_metadata()).get("x-initial")]
        for text in (b"a", b"b"):
            messages.put(text)
            texts.append(next(call).decode())
    finally:
        messages.put(None)
    texts += [text.decode() for text in call]
    return " ".join(texts + [dict(call.trailing_metadata()).get("exit_code")])


def hold():
    messages = queue.Queue()
    call = channel.stream_stream(service + "Attach", raw, raw)
    call = call(iter(messages.get, None), metadata=METADATA)
    messages.put(b"x")
    next(call)
    print("open", flush=True)
    try:
        next(call)
    finally:
        messages.put(None)


service = "/containers.ContainerService/"
target, how = sys.argv[1], (sys.argv[2:] + [""])[0]
if how in ("", "hold"):
    channel = grpc.insecure_channel(target)
else:
    pem = {name: open(f"{how}/{name}.pem", "rb").read() for name in ("ca", "cert", "key")}
    channel = grpc.secure_channel(
        target, grpc.ssl_channel_credentials(pem["ca"], pem["key"], pem["cert"])
    )
if how == "hold":
    attempt("end", hold)
    sys.exit()
privileged = b'\x0a\x01x\x2a\x13{"Privileged":true}\x32\x02{}'
attempt("List", lambda: unary("List", b"text"))
attempt("Stop", lambda: unary("Stop"))
attempt("Version", lambda: unary("Version"))
attempt("Unknown", lambda: unary("Unknown"))
attempt("Wait", lambda: unary("Wait", timeout=0.5))
attempt("Create", lambda: unary("Create", privileged).encode().count(b"Privileged"))
attempt("Logs", lambda: download("Logs", 2))
attempt("CopyFromContainer", lambda: download("CopyFromContainer", SIZE))
attempt("CopyToContainer", upload)
attempt("Attach", lambda: converse("Attach"))
attempt("RemoteExec", lambda: converse("RemoteExec"))
