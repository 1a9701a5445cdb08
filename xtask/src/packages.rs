//! Debian packages: named by the task that needs them, installed when missing.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// To build the product: C compiler and the libraries under libbpf.
pub const BUILD: &[&str] = &["gcc", "libc6-dev", "make", "pkg-config", "libelf-dev", "zlib1g-dev"];

/// To rebuild the kernel object.
pub const KERNEL_OBJECT: &[&str] = &["clang-19", "llvm-19", "libbpf-dev", "linux-libc-dev"];

/// To look at the page as people do.
pub const BROWSER: &[&str] = &["chromium"];

/// Load generators and the yardstick of the benches.
pub const BENCH: &[&str] =
    &["nginx", "redis-server", "redis-tools", "wrk", "nghttp2-client", "tshark"];

/// Servers that the live tests talk to.
pub const SERVERS: &[&str] =
    &["nginx", "redis-server", "redis-tools", "memcached", "postgresql", "iproute2", "tshark"];

/// Servers and clients with TLS libraries of their own, beside Node and Go.
pub const TLS: &[&str] = &["python3", "nginx", "curl", "wget", "openssl", "ca-certificates"];

/// Network namespaces with NAT between them.
pub const NETWORK: &[&str] = &["iproute2", "nftables", "util-linux"];

/// An emulator for other kernels, and what runs in it.
pub const KERNELS: &[&str] = &["qemu-system-x86", "busybox-static", "binutils"];

/// Installs those of `packages` that are missing.
///
/// Fails with the command to type where it may not install them itself.
pub fn ensure(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!("missing Debian packages: run 'sudo apt-get install {names}', then this again");
    }
    eprintln!("x: installing {names}");
    apt(&["update", "-qq"])?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&missing);
    apt(&args).with_context(|| format!("failed to install {names}"))
}

/// A package with its version, as people write it.
pub fn version(name: &str) -> String {
    let out = Command::new("dpkg-query").args(["-W", "-f", "${Version}", name]).output();
    let version = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    format!("{name} {}", version.unwrap_or_default())
}

fn is_installed(name: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${Status}", name])
        .output()
        .is_ok_and(|out| out.stdout.ends_with(b"ok installed"))
}

fn apt(args: &[&str]) -> Result<()> {
    let out = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("failed to start apt-get: DeepTrace's automation knows Debian and Ubuntu only")?;
    if !out.status.success() {
        bail!("apt-get {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
