//! The files that `deeptrace correlate` reads.

use std::io::{self, Write};

use crate::observe::Seen;

/// One JSON object a line. Nothing in it tells the trace.
pub fn spans(out: &mut dyn Write, seen: &[Seen]) -> io::Result<()> {
    for it in seen {
        let (service, start, end) = (it.service, it.start, it.end);
        let kind = if it.is_call { "C" } else { "S" };
        let of = if it.is_call { it.peer.unwrap_or("outside") } else { service };
        write!(
            out,
            r#"{{"id":{},"svc":"{service}","host":"{service}-1","comp":"http1","kind":"{kind}","start":{start},"end":{end},"ep":"POST /{of}/{}","xid":{}"#,
            it.id, it.operation, it.exchange
        )?;
        if let Some(peer) = it.peer {
            write!(out, r#","peer":"{peer}""#)?;
        }
        let [first, last] = it.threads;
        if first > 0 {
            write!(out, r#","pid":1,"tid":{},"tid2":{}"#, 100 + first, 100 + last)?;
        }
        if let Some(field) = it.field {
            write!(out, r#","req":"{{\"user\":\"user-{field:06}\",\"channel\":\"web\"}}""#)?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

/// `id,trace,parent,flags`; a parent that is not there, or was not seen, is −1.
pub fn truth(out: &mut dyn Write, seen: &[Seen]) -> io::Result<()> {
    writeln!(out, "id,trace,parent,flags")?;
    for it in seen {
        let parent = it.parent.map_or(-1, |parent| parent as i64);
        writeln!(out, "{},{},{parent},", it.id, it.trace)?;
    }
    Ok(())
}
