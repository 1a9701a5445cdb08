//! Container: the id that a process's cgroup path names.
//!
//! Docker, containerd, CRI-O and Podman put the 64 hex digits of the container's id into the
//! cgroup's path, each with its own decoration. The innermost one counts: in Docker in Docker that
//! is the container the process really runs in.

/// The container that `cgroup` (the text of `/proc/PID/cgroup`) names: 64 hex digits.
///
/// `None` for processes of the host, and for the monitors that Podman and CRI-O put beside their
/// containers (`libpod-conmon-ID.scope`).
pub fn container_id(cgroup: &str) -> Option<String> {
    paths(cgroup).find_map(|path| path.rsplit('/').find_map(id)).map(str::to_owned)
}

/// Whether `cgroup` lies below what Kubernetes made.
pub fn is_kubernetes(cgroup: &str) -> bool {
    paths(cgroup).any(|path| path.split('/').any(|part| part.starts_with("kubepods")))
}

/// Paths of all hierarchies; those that systemd or the unified hierarchy keeps come first, because
/// the controllers of cgroup v1 may each lie elsewhere.
pub(crate) fn paths(cgroup: &str) -> impl Iterator<Item = &str> {
    let lines = || {
        cgroup.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
    };
    let leads = |name: &str| name.is_empty() || name == "name=systemd";
    lines()
        .filter(move |(name, _)| leads(name))
        .chain(lines().filter(move |(name, _)| !leads(name)))
        .map(|(_, path)| path)
}

/// The id in one part of a path: `ID`, `docker-ID.scope`, `NAME:cri-containerd:ID`.
fn id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let start = part.rfind(['-', ':']).map_or(0, |at| at + 1);
    let (decoration, id) = part.split_at(start);
    let is_id = id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && !decoration.ends_with("conmon-")).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3f4e0a7c9b1d2e5f6a8b7c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f";
    const B: &str = "ffffffffffffffffffffffffffffffff00000000000000000000000000000000";

    #[test]
    fn ids_are_found_in_what_runtimes_write() {
        let rows: &[(&str, Option<&str>)] = &[
            ("0::/", None),
            ("0::/user.slice/user-1000.slice/session-3.scope", None),
            ("0::/system.slice/nginx.service", None),
            // Docker: cgroup v2 with systemd, v1 with cgroupfs, and its own cgroup v2 driver.
            ("0::/system.slice/docker-A.scope", Some(A)),
            ("12:pids:/docker/A\n1:name=systemd:/docker/A\n0::/system.slice/x", Some(A)),
            ("0::/docker/A", Some(A)),
            // A shell inside a container that has cgroups of its own, and one in a private view.
            ("0::/system.slice/docker-A.scope/init", Some(A)),
            ("0::/../../docker-A.scope", Some(A)),
            // Docker in Docker.
            ("0::/docker/B/docker/A", Some(A)),
            ("0::/system.slice/docker-B.scope/docker/A", Some(A)),
            // Kubernetes with containerd, systemd and cgroupfs; with CRI-O; with Docker.
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1c.slice/cri-containerd-A.scope",
                Some(A),
            ),
            ("11:memory:/kubepods/besteffort/pod8d2a/A", Some(A)),
            ("0::/kubepods.slice/kubepods-pod9.slice/crio-A.scope/container", Some(A)),
            ("0::/kubepods.slice/kubepods-pod9.slice/crio-conmon-A.scope", None),
            (
                "5:cpu:/system.slice/containerd.service/kubepods-besteffort-pod3.slice:cri-containerd:A",
                Some(A),
            ),
            // Podman, as root and without.
            ("0::/machine.slice/libpod-A.scope/container", Some(A)),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-A.scope/container",
                Some(A),
            ),
            ("0::/machine.slice/libpod-conmon-A.scope", None),
            // Elastic Container Service.
            ("9:memory:/ecs/0b69d5c0-d655-4695-98cd-5d2d526d9d5a/A", Some(A)),
            // Near misses: too short, not hex, upper case.
            ("0::/docker/3f4e0a7c9b1d", None),
            ("0::/docker/zf4e0a7c9b1d2e5f6a8b7c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f", None),
            ("", None),
            ("rubbish", None),
        ];
        for (cgroup, expected) in rows {
            let text = cgroup.replace('A', A).replace('B', B);
            assert_eq!(container_id(&text).as_deref(), *expected, "{cgroup}");
        }
    }

    #[test]
    fn kubernetes_is_told_from_docker() {
        assert!(is_kubernetes("0::/kubepods.slice/kubepods-pod9.slice/crio-x.scope"));
        assert!(is_kubernetes("11:memory:/kubepods/besteffort/pod8d2a/x"));
        assert!(!is_kubernetes("0::/system.slice/docker-x.scope"));
    }
}
