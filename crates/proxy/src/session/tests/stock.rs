//! Claims about what an idle client keeps.

use super::*;

#[test]
fn a_client_with_nothing_to_do_keeps_nothing_and_the_next_one_has_it() {
    let mut stock = Stock::default();
    let mut lent = Vec::new();
    for _ in 0..2 {
        let mut rig = Rig::ready(Durability::Async, &[]);
        rig.session.give_back(&mut stock);
        rig.session.client_in.extend_from_slice(b"PING\r\n*2\r\n$3\r\nG");
        rig.session.borrow_from(&mut stock);
        lent.push(rig.session.queue.capacity() > 0);
        rig.advance();
        rig.write(usize::MAX);
        assert!(rig.session.slots.capacity() > 0, "its request is in flight");
        rig.session.give_back(&mut stock);
        rig.reply("+PONG\r\n");
        assert_eq!(rig.client_got(), "+PONG\r\n");
        let session = &mut rig.session;
        session.give_back(&mut stock);
        assert_eq!(session.queue.capacity() + session.slots.capacity(), 0);
        assert_eq!(session.client_out.tail().map(|tail| tail.capacity()), Some(0));
        assert_eq!(&session.client_in[..], b"*2\r\n$3\r\nG", "what is not whole stays");
    }
    assert_eq!(lent, [true, true]);
}
