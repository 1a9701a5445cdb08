"""ZeroMQ: answers requests, and takes what is pushed."""

import sys

import zmq

context = zmq.Context()
answers = context.socket(zmq.REP)
answers.bind(f"tcp://127.0.0.1:{sys.argv[1]}")
pulls = context.socket(zmq.PULL)
pulls.bind(f"tcp://127.0.0.1:{sys.argv[2]}")
poller = zmq.Poller()
poller.register(answers, zmq.POLLIN)
poller.register(pulls, zmq.POLLIN)
while True:
    for ready, _ in poller.poll():
        parts = ready.recv_multipart()
        if ready is answers:
            answers.send_multipart([b"hello", *parts])
