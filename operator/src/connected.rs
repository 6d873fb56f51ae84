//! Which committees' members the operator stays connected with between rounds.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use weft_client::Connector;

/// So many committees. A connection takes some fifty kilobytes and a ping each other second, and of a thousand committees nearly all
/// wait for something that isn't their members.
const MOST: usize = 64;

/// Channels that are kept, by the UID of the committee; who was spoken to last comes last.
#[derive(Debug, Default)]
pub struct Connected(Mutex<VecDeque<(String, Arc<dyn Connector>)>>);

impl Connected {
    /// Takes note that a committee's members are spoken to. Where there are too many, those are hung up on that haven't been for
    /// longest.
    pub fn note(&self, uid: &str, connector: &Arc<dyn Connector>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| known != uid);
        kept.push_back((uid.to_owned(), Arc::clone(connector)));
        while kept.len() > MOST {
            if let Some((_, longest)) = kept.pop_front() {
                longest.release();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures::future::BoxFuture;
    use tonic::transport::Channel;
    use weft_client::ConnectError;

    use super::*;

    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Connector for Counted {
        fn channel(&self, _: &str) -> Result<Channel, ConnectError> {
            unreachable!("nobody is spoken to")
        }

        fn release(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
            unreachable!("nobody is looked for")
        }
    }

    #[test]
    fn those_that_were_spoken_to_last_stay_connected() {
        let connected = Connected::default();
        let counted: Vec<Arc<Counted>> = (0..MOST + 2).map(|_| Arc::default()).collect();
        let note = |at: usize| {
            let connector: Arc<dyn Connector> = counted[at].clone();
            connected.note(&format!("uid-{at}"), &connector);
        };
        (0..MOST).for_each(note);
        note(0);
        note(MOST);
        note(MOST + 1);
        let released: Vec<usize> = counted.iter().map(|counted| counted.0.load(Ordering::Relaxed)).collect();
        assert_eq!(released.iter().sum::<usize>(), 2);
        assert_eq!((released[0], released[1], released[2]), (0, 1, 1));
    }
}
