//! Every protocol of the table against its sessions in `corpus/protocol`.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod items;
#[cfg(test)]
mod multiplexed;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod recognition;
#[cfg(test)]
mod session;
#[cfg(test)]
mod support;
