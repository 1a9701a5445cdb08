//! Driver: the application of a live test, in a process of its own, because ours is never watched.
//!
//! The test binary starts itself again; see `session.rs`. Each scenario makes real socket calls.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn, recv, recvmmsg, recvmsg, send, sendmmsg, sendmsg,
    setsockopt, sockopt,
};
use nix::sys::uio::{readv, writev};
use nix::unistd::{read, write};

/// Name of a scenario, in the environment of the process that plays it.
pub const SCENARIO: &str = "DEEPTRACE_TEST_SCENARIO";

/// Connections of the scenario `unix-reuse`, and senders.
pub const SHORT_CONNECTIONS: usize = 100;

const SCENARIOS: &[(&str, fn())] = &[
    ("calls", calls),
    ("addresses", addresses),
    ("datagrams", datagrams),
    ("unix", unix),
    ("unix-reuse", unix_reuse),
    ("ends", ends),
    ("older", older),
    ("reuse", reuse),
    ("rounds", rounds),
    ("many", many),
    ("family", family),
    ("worker", worker),
    ("uring", crate::uring::play),
];

/// Plays the scenario that the environment names; nothing in the process of the tests themselves.
pub fn play() {
    let Ok(name) = std::env::var(SCENARIO) else { return };
    let (_, scenario) = SCENARIOS.iter().find(|(known, _)| *known == name).expect("a scenario");
    scenario();
}

/// Tells the test `detail` and waits for its word.
pub fn wait_for_go(detail: impl std::fmt::Display) {
    println!("ready {detail}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Both ends of a new connection, the client's first.
pub fn pair() -> (TcpStream, TcpStream) {
    connect(&TcpListener::bind("127.0.0.1:0").unwrap())
}

fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn expect(mut from: impl Read, text: &[u8]) {
    let mut bytes = vec![0; text.len()];
    from.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, text);
}

/// Every way to send and to receive on a stream; the receiver peeks first.
fn calls() {
    wait_for_go("");
    let (client, server) = pair();
    let (out, into) = (client.as_raw_fd(), server.as_raw_fd());
    let mut bytes = [0; 64];

    write(&client, b"write").unwrap();
    assert_eq!(read(&server, &mut bytes).unwrap(), 5);

    writev(&client, &[IoSlice::new(b"wr"), IoSlice::new(b"it"), IoSlice::new(b"ev")]).unwrap();
    let (first, second) = bytes.split_at_mut(4);
    readv(&server, &mut [IoSliceMut::new(first), IoSliceMut::new(second)]).unwrap();

    send(out, b"send", MsgFlags::empty()).unwrap();
    assert_eq!(recv(into, &mut bytes, MsgFlags::MSG_PEEK).unwrap(), 4);
    assert_eq!(recv(into, &mut bytes, MsgFlags::empty()).unwrap(), 4);
    let empty = recv(into, &mut bytes, MsgFlags::MSG_DONTWAIT);
    assert_eq!(empty, Err(nix::errno::Errno::EAGAIN));

    let message = [IoSlice::new(b"send"), IoSlice::new(b"msg")];
    sendmsg::<()>(out, &message, &[], MsgFlags::empty(), None).unwrap();
    let (first, second) = bytes.split_at_mut(3);
    let mut room = [IoSliceMut::new(first), IoSliceMut::new(second)];
    recvmsg::<()>(into, &mut room, None, MsgFlags::empty()).unwrap();

    send_two(out, b"mm-one", b"mm-two", None);
    receive_two(into, 6);

    let file = std::env::temp_dir().join(format!("deeptrace-live-{}", std::process::id()));
    std::fs::write(&file, b"sendfile").unwrap();
    let open = std::fs::File::open(&file).unwrap();
    nix::sys::sendfile::sendfile(&client, &open, None, 8).unwrap();
    assert_eq!(read(&server, &mut bytes).unwrap(), 8);
    std::fs::remove_file(&file).unwrap();
}

fn send_two(fd: i32, one: &[u8], two: &[u8], to: Option<SockaddrIn>) {
    let mut headers = MultiHeaders::preallocate(2, None);
    let slices = [[IoSlice::new(one)], [IoSlice::new(two)]];
    let sent = sendmmsg(fd, &mut headers, &slices, [to, to], [], MsgFlags::empty()).unwrap();
    assert_eq!(sent.count(), 2);
}

fn receive_two(fd: i32, len: usize) {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(2, None);
    let (mut one, mut two) = (vec![0; len], vec![0; len]);
    let mut slices = [[IoSliceMut::new(&mut one)], [IoSliceMut::new(&mut two)]];
    let got = recvmmsg(fd, &mut headers, &mut slices, MsgFlags::empty(), None).unwrap();
    assert_eq!(got.count(), 2);
}

/// IPv6, and an IPv4 client of a listener for both.
fn addresses() {
    wait_for_go("");
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for address in [format!("[::1]:{port}"), format!("127.0.0.1:{port}")] {
        let mut client = TcpStream::connect(&address).unwrap();
        let mut server = listener.accept().unwrap().0;
        client.write_all(b"question").unwrap();
        expect(&server, b"question");
        server.write_all(b"answer").unwrap();
        expect(&client, b"answer");
    }
}

/// UDP, connected and not, one by one and several at once.
fn datagrams() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = server.local_addr().unwrap();
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect(at).unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    wait_for_go(format!("{at} {}", free.local_addr().unwrap()));
    // Fills a small ring once: what comes after is written over old records.
    let (mut client, into) = pair();
    for _ in 0..40 {
        client.write_all(&[b'x'; 1000]).unwrap();
        expect(&into, &[b'x'; 1000]);
    }
    wait_for_go("");
    let mut bytes = [0; 64];
    connected.send(b"connected").unwrap();
    server.recv_from(&mut bytes).unwrap();
    free.send_to(b"free", at).unwrap();
    let (_, peer) = server.recv_from(&mut bytes).unwrap();
    server.send_to(b"back", peer).unwrap();
    free.recv_from(&mut bytes).unwrap();
    let SocketAddr::V4(to) = at else { panic!("bound to IPv4") };
    send_two(free.as_raw_fd(), b"one", b"three", Some(to.into()));
    receive_two(server.as_raw_fd(), 64);
}

/// UNIX sockets: streams by path and by pair, datagrams.
fn unix() {
    let folder = std::env::temp_dir().join(format!("deeptrace-unix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    wait_for_go(path.display());
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    let mut server = listener.accept().unwrap().0;
    client.write_all(b"ping").unwrap();
    client.write_all(b"again").unwrap();
    expect(&server, b"ping");
    expect(&server, b"again");
    server.write_all(b"pong").unwrap();
    expect(&client, b"pong");
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);

    let (mut one, two) = UnixStream::pair().unwrap();
    one.write_all(b"pair").unwrap();
    expect(&two, b"pair");

    let (one, two) = UnixDatagram::pair().unwrap();
    one.send(b"datagram").unwrap();
    assert_eq!(two.recv(&mut [0; 64]).unwrap(), 8);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// One short connection after another, then one sender after another: the kernel makes each socket where another one was.
fn unix_reuse() {
    let path = std::env::temp_dir().join(format!("deeptrace-reuse-{}", std::process::id()));
    wait_for_go("");
    let listener = UnixListener::bind(&path).unwrap();
    for _ in 0..SHORT_CONNECTIONS {
        let mut client = UnixStream::connect(&path).unwrap();
        let mut server = listener.accept().unwrap().0;
        client.write_all(b"ping").unwrap();
        expect(&server, b"ping");
        server.write_all(b"pong").unwrap();
        expect(&client, b"pong");
    }
    std::fs::remove_file(&path).unwrap();
    let receiver = UnixDatagram::bind(&path).unwrap();
    for _ in 0..SHORT_CONNECTIONS {
        UnixDatagram::unbound().unwrap().send_to(b"alone", &path).unwrap();
        receiver.recv(&mut [0; 8]).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
}

/// How connections end: half-closed with bytes unread, reset, refused.
fn ends() {
    wait_for_go("");
    let (mut client, mut server) = pair();
    client.write_all(b"half").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    expect(&server, b"half");
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    server.write_all(b"late").unwrap();
    drop(server);
    std::thread::sleep(Duration::from_millis(50));
    expect(&client, b"late");
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    drop(client);

    let (mut client, mut server) = pair();
    client.write_all(b"reset").unwrap();
    expect(&server, b"reset");
    let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client, sockopt::Linger, &now).unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(TcpStream::connect(nobody).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// A connection that is there, and was used, before anybody watches.
fn older() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut client, mut server) = connect(&listener);
    client.write_all(b"before").unwrap();
    expect(&server, b"before");
    server.write_all(b"yes").unwrap();
    expect(&client, b"yes");
    wait_for_go("");
    client.write_all(b"after").unwrap();
    expect(&server, b"after");
    server.write_all(b"answer").unwrap();
    expect(&client, b"answer");
}

/// The same file descriptors again and again.
fn reuse() {
    wait_for_go("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut descriptors = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let (mut client, server) = connect(&listener);
        descriptors.extend([client.as_raw_fd(), server.as_raw_fd()]);
        client.write_all(b"round").unwrap();
        expect(&server, b"round");
    }
    assert_eq!(descriptors.len(), 2);
}

/// One exchange at each word of the test, on one connection: 1000 bytes forth, `ok` back.
fn rounds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut client, mut server) = connect(&listener);
    let port = listener.local_addr().unwrap().port();
    for round in 0..4 {
        wait_for_go(port);
        let text = format!("{round}").repeat(1000);
        client.write_all(text.as_bytes()).unwrap();
        expect(&server, text.as_bytes());
        server.write_all(b"ok").unwrap();
        expect(&client, b"ok");
    }
}

/// More than a small ring holds, and one exchange after that.
fn many() {
    let (mut client, server) = pair();
    wait_for_go("");
    for _ in 0..2000 {
        client.write_all(&[b'x'; 200]).unwrap();
        expect(&server, &[b'x'; 200]);
    }
    wait_for_go("");
    client.write_all(b"calm").unwrap();
    expect(&server, b"calm");
}

/// A process whose child makes the calls.
fn family() {
    wait_for_go("");
    let mut child = child("reuse");
    let status = child.stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
}

/// A process whose child is there before anybody watches; the word goes to the child.
fn worker() {
    assert!(child("rounds").status().unwrap().success());
}

fn child(scenario: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["driver", "--exact", "--nocapture"]).env(SCENARIO, scenario);
    command
}
