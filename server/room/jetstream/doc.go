// Package jetstream keeps the messages of rooms in a JetStream stream: of a server
// inside this process (Embedded) or of a NATS server or cluster (Connect). One
// stream holds all rooms, a subject each; an entry's sequence is the stream's.
//
// Every append is a compare-and-set: the first draft of each room goes with the
// sequence of the room's newest message, and the stream takes it only if that is
// still so. Order across nodes and exactness after a lost answer both follow from
// it. Drafts that are appended together are one atomic batch, and so share the
// cost of making them durable.
//
// Whoever may publish to the stream's subjects of a NATS server can speak for
// every user: give the account's credentials to this program alone. A cluster is
// as durable as its servers are told to be: sync_interval always makes each of
// them write to its disk before it answers; without it, what a majority of them
// has in memory is what an acknowledgement means.
package jetstream
