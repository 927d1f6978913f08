// The load of load.c, on etcd: the same operations, sizes and keys through etcd's own client.
//
// Clients share sixteen gRPC connections, each balanced over all endpoints, as in etcd's benchmark
// tool. Built against Debian's golang-etcd-server-dev.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const connections = 16

type result struct {
	Generator string         `json:"generator"`
	Seconds   float64        `json:"seconds"`
	Ok        int            `json:"ok"`
	Failed    int            `json:"failed"`
	Rate      float64        `json:"rate"`
	P50       float64        `json:"p50_ms"`
	P99       float64        `json:"p99_ms"`
	Max       float64        `json:"max_ms"`
	CpuShare  float64        `json:"cpu_share"`
	Errors    map[string]int `json:"errors"`
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func percentile(sorted []float64, fraction float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(fraction * float64(len(sorted)))
	if i >= len(sorted) {
		i = len(sorted) - 1
	}
	return sorted[i]
}

func main() {
	endpoints := flag.String("endpoints", "", "host:port,...")
	op := flag.String("op", "put", "put or get")
	clients := flag.Int("clients", 1, "requests under way")
	size := flag.Int("size", 256, "bytes of a value")
	keys := flag.Int64("keys", 0, "different keys; 0: a new one for each request")
	total := flag.Int64("total", 0, "requests; 0: as many as fit into seconds")
	seconds := flag.Float64("seconds", 0, "how long")
	random := flag.Bool("random", false, "values that cannot be compressed")
	flag.Parse()

	var pool []*clientv3.Client
	for i := 0; i < connections; i++ {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: strings.Split(*endpoints, ","), DialTimeout: 5 * time.Second,
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "etcd_load:", err)
			os.Exit(1)
		}
		pool = append(pool, client)
	}
	value := strings.Repeat("x", *size)
	if *random {
		bytes := make([]byte, *size)
		rand.Read(bytes)
		value = string(bytes)
	}
	latencies := make([][]float64, *clients)
	errors := make([]map[string]int, *clients)
	var next int64 = -1
	var group sync.WaitGroup
	cpu, start := cpuSeconds(), time.Now()
	for worker := 0; worker < *clients; worker++ {
		group.Add(1)
		errors[worker] = map[string]int{}
		go func(worker int) {
			defer group.Done()
			client := pool[worker%connections]
			for *seconds <= 0 || time.Since(start).Seconds() < *seconds {
				number := atomic.AddInt64(&next, 1)
				if *total > 0 && number >= *total {
					return
				}
				if *keys > 0 {
					number %= *keys
				}
				key := fmt.Sprintf("k%08d", number)
				began := time.Now()
				var err error
				if *op == "put" {
					_, err = client.Put(context.Background(), key, value)
				} else {
					_, err = client.Get(context.Background(), key)
				}
				if err != nil {
					errors[worker][err.Error()]++
				} else {
					latencies[worker] = append(latencies[worker], time.Since(began).Seconds()*1000)
				}
			}
		}(worker)
	}
	group.Wait()
	elapsed := time.Since(start).Seconds()
	out := result{Generator: "go", Seconds: elapsed, Errors: map[string]int{}}
	out.CpuShare = (cpuSeconds() - cpu) / elapsed
	var all []float64
	for worker := range latencies {
		all = append(all, latencies[worker]...)
		for text, count := range errors[worker] {
			out.Errors[text] += count
			out.Failed += count
		}
	}
	sort.Float64s(all)
	out.Ok, out.Rate = len(all), float64(len(all))/elapsed
	out.P50, out.P99, out.Max = percentile(all, 0.5), percentile(all, 0.99), percentile(all, 1)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		os.Exit(1)
	}
}
