//! Parsers beside independent readers of the same protocols: crates that others wrote. Both read the
//! corpus, and messages that are generated anew; the bounds of the messages and what names them must
//! agree, however the bytes are cut. Where they differ and we are right, the test says why.

#[cfg(test)]
mod dns;
#[cfg(test)]
mod http;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod mqtt;
#[cfg(test)]
mod redis;
#[cfg(test)]
#[expect(dead_code, reason = "these tests need a part of what the tests of the table need")]
#[path = "../table/session/mod.rs"]
mod session;
#[cfg(test)]
mod thrift;
#[cfg(test)]
mod told;
#[cfg(test)]
mod websocket;
