//! What servers have for agents: it reaches them, once, whichever server they poll.

use std::sync::Arc;

use deeptrace_erase::{Target, Tombstone};
use deeptrace_model::{ExchangeKey, WallTime};
use deeptrace_wire::Key;
use serde_json::json;

use crate::agent::Agent;
use crate::server::{Server, wait};

fn keys(numbers: std::ops::Range<u64>) -> Vec<Key> {
    numbers.map(|number| Key::Exchange(ExchangeKey(number))).collect()
}

fn received(agent: &Agent, heard: &mut Vec<Key>, count: usize) {
    wait("keys of other agents", || {
        agent.keys.received(heard);
        heard.len() >= count
    });
}

fn connected(server: &Server, count: u64) {
    wait("agents poll", || server.counter("orders_connected_agents") == count);
}

#[test]
fn what_one_agent_keeps_all_others_hear_of() {
    let server = Server::start();
    let agents = [Agent::start(&server), Agent::start(&server), Agent::start(&server)];
    connected(&server, 3);
    let publish = |from: usize, numbers| {
        agents[from].keys.publish(keys(numbers));
    };
    publish(0, 0..10_000);
    publish(1, 10_000..10_001);
    for (at, mut expected) in
        [(0, keys(10_000..10_001)), (1, keys(0..10_000)), (2, keys(0..10_001))]
    {
        let mut heard = Vec::new();
        received(&agents[at], &mut heard, expected.len());
        heard.sort_unstable();
        expected.sort_unstable();
        assert!(heard == expected, "agent {at} heard {} keys", heard.len());
    }
    assert_eq!(server.counter("orders_dropped_total"), 0);
}

#[test]
fn agents_of_two_servers_hear_of_each_other() {
    let (one, other) = Server::pair();
    let (at_one, at_other) = (Agent::start(&one), Agent::start(&other));
    connected(&one, 1);
    connected(&other, 1);
    let mut heard = Vec::new();
    at_one.keys.publish(keys(0..3));
    received(&at_other, &mut heard, 3);
    at_one.keys.publish(keys(3..5));
    received(&at_other, &mut heard, 5);
    assert_eq!(heard, keys(0..5), "each once, in order");
    let mut own = Vec::new();
    at_one.keys.received(&mut own);
    assert_eq!(own, [], "nobody hears its own");
}

#[test]
fn agents_take_configuration_and_say_what_came_of_it() {
    let server = Server::start();
    let early = Agent::start(&server);
    connected(&server, 1);
    let config = json!({"agents": {"trace": {"pids": [1]}}});
    assert_eq!(server.put("/agents/config", &config)["generation"], 1);
    let late = Agent::start(&server);
    for agent in [&early, &late] {
        wait("configuration", || *agent.settings.0.lock().unwrap() == [config.clone()]);
    }
    for (config, error) in [
        (json!({"agents": {"trace": {"wrong": 1}}}), "unknown key"),
        (json!({"agents": {"sender": {"server_url": "http://127.0.0.1:1"}}}), "agents.sender"),
    ] {
        let generation = server.put("/agents/config", &config)["generation"].clone();
        wait("what came of it", || {
            let agents = server.get("/agents");
            let told = agents["agents"].as_array().unwrap().iter().map(|agent| &agent["config"]);
            let is_told = |it: &serde_json::Value| {
                it["generation"] == generation && it["error"].to_string().contains(error)
            };
            told.filter(|it| is_told(it)).count() == 2
        });
    }
    assert_eq!(early.settings.0.lock().unwrap().len(), 1, "what is refused changes nothing");
}

#[test]
fn tombstones_reach_agents() {
    let server = Server::start();
    let agent = Agent::start(&server);
    connected(&server, 1);
    let before = agent.counter("sender_orders_total");
    let target = Target::parse("user=anna").unwrap();
    let tombstone = Tombstone::new(&target, WallTime(5), []).unwrap();
    server.tombstones.set(&*server.store, &Arc::new(tombstone)).unwrap();
    wait("the tombstone", || agent.counter("sender_orders_total") == before + 1);
    assert_eq!(agent.counter("sender_omitted_orders_total"), 0);
}
