// What core.py measures, on etcd's raft: three RawNodes in one process, stores in memory, no disk.
package main

import (
	"encoding/json"
	"flag"
	"io/ioutil"
	"log"
	"os"
	"time"

	"go.etcd.io/etcd/raft"
	"go.etcd.io/etcd/raft/raftpb"
)

type node struct {
	raw     *raft.RawNode
	store   *raft.MemoryStorage
	applied int
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func group(members int) []*node {
	logger := &raft.DefaultLogger{Logger: log.New(ioutil.Discard, "", 0)}
	state := raftpb.ConfState{}
	for id := 1; id <= members; id++ {
		state.Voters = append(state.Voters, uint64(id))
	}
	var nodes []*node
	for id := 1; id <= members; id++ {
		store := raft.NewMemoryStorage()
		must(store.ApplySnapshot(raftpb.Snapshot{
			Metadata: raftpb.SnapshotMetadata{ConfState: state, Index: 1, Term: 1},
		}))
		raw, err := raft.NewRawNode(&raft.Config{
			ID: uint64(id), ElectionTick: 10, HeartbeatTick: 1, Storage: store, Applied: 1,
			MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256, Logger: logger,
		})
		must(err)
		nodes = append(nodes, &node{raw: raw, store: store})
	}
	must(nodes[0].raw.Campaign())
	settle(nodes)
	return nodes
}

// Carry out what every node has ready, and deliver its messages, until nothing is left to do.
func settle(nodes []*node) {
	for busy := true; busy; {
		busy = false
		for _, n := range nodes {
			if !n.raw.HasReady() {
				continue
			}
			busy = true
			ready := n.raw.Ready()
			must(n.store.Append(ready.Entries))
			if !raft.IsEmptyHardState(ready.HardState) {
				must(n.store.SetHardState(ready.HardState))
			}
			for _, message := range ready.Messages {
				must(nodes[message.To-1].raw.Step(message))
			}
			n.applied += len(ready.CommittedEntries)
			n.raw.Advance(ready)
		}
	}
}

func main() {
	total := flag.Int("total", 20000, "proposals of each case")
	flag.Parse()
	data := make([]byte, 256)
	out := map[string]float64{}
	for _, c := range []struct {
		name  string
		burst int
	}{{"singly_us", 64}, {"lone_us", 1}} {
		nodes := group(3)
		start := time.Now()
		done := 0
		for done < *total {
			for i := 0; i < c.burst; i++ {
				must(nodes[0].raw.Propose(data))
				done++
			}
			settle(nodes)
		}
		out[c.name] = time.Since(start).Seconds() * 1e6 / float64(done)
		for _, n := range nodes {
			if n.applied < done {
				log.Fatalf("only %d of %d entries were applied", n.applied, done)
			}
		}
	}
	must(json.NewEncoder(os.Stdout).Encode(out))
}
