"""Sends a descriptor whose last close waits: a TCP socket that lingers over data nobody reads.

Arguments: the service's socket, the hello in hexadecimal, the message in hexadecimal, what goes
before it, how many other descriptors, and how many of these sockets. Says 'sent', and lets the
closes end when its standard input does.
"""
import array
import os
import socket
import struct
import sys

path, hello, message, before = sys.argv[1], *(bytes.fromhex(text) for text in sys.argv[2:5])
others, count = int(sys.argv[5]), int(sys.argv[6])

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.bind(("127.0.0.1", 0))
listener.listen(count)
unread = []


def lingering():
    sender = socket.socket()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sender.connect(listener.getsockname())
    unread.append(listener.accept()[0])
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
    sender.setblocking(False)
    try:
        while True:
            sender.send(bytes(65536))
    except BlockingIOError:
        return sender.detach()


service = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
service.connect(path)
service.send(hello)
null = os.open("/dev/null", os.O_RDONLY)
if before:
    service.send(before)
for _ in range(count):
    slow = lingering()
    rights = array.array("i", [null] * others + [slow])
    try:
        service.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError:
        pass
    os.close(slow)
print("sent", flush=True)
sys.stdin.read()
