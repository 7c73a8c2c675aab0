//! A whole server without a network, for sessions over connections in memory.

use std::sync::Arc;

use lipsyncd::base::ids::ConnectionId;
use lipsyncd::config::{Config, Options};
use lipsyncd::engine::Engine;
use lipsyncd::model::Registry;
use lipsyncd::observe::Stats;
use lipsyncd::server::{Assets, HttpService, OriginPolicy};
use lipsyncd::session::{ClientSession, Context};

use crate::memory::MemoryConnection;

/// A whole server without a network.
pub struct Memory {
    pub context: Arc<Context>,
    service: HttpService,
}

impl Memory {
    pub fn new(options: &Options) -> Memory {
        let config = Config::new(options.clone()).unwrap();
        let engine = Engine::start(&config, Arc::new(Stats::default())).unwrap();
        for folder in Registry::folders(config.models_dir()).unwrap() {
            engine.load_folder(&folder).unwrap();
        }
        let context = Arc::new(Context::new(&config, engine));
        context.set_ready();
        let service = HttpService::new(
            context.clone(),
            Assets::open(None).unwrap(),
            OriginPolicy::new(&config, 0),
        );
        Memory { context, service }
    }

    pub fn connect(&self, subprotocol: &'static str) -> MemoryConnection<ClientSession> {
        let subprotocol = Some(subprotocol).filter(|name| !name.is_empty());
        let limits = &self.context.limits;
        MemoryConnection::open(&self.service, subprotocol, ConnectionId(1), limits).unwrap()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.context.engine.stop();
    }
}
