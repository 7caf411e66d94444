// Command driver loads a server and checks every response.
//
// It reads a job as JSON from standard input. It prints "begin" when the warm-up is over and the result as JSON when
// the measured window has ended.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// job describes what to send, where and how.
type job struct {
	// Address of the server, host:port.
	Target string `json:"target"`
	// "grpc", "grpc-stream" or "http".
	Transport string `json:"transport"`
	// Full gRPC method, or the path of a POST.
	Method string `json:"method"`
	// Content type of a POST.
	ContentType string `json:"content_type"`
	// File of calls; they are sent in turn.
	Workload string `json:"workload"`
	// See newChecker.
	Check string `json:"check"`
	// Field numbers that lead to the checked values.
	Path []uint64 `json:"path"`
	// Calls in flight in all, or on each stream.
	InFlight int `json:"in_flight"`
	// gRPC connections.
	Connections int `json:"connections"`
	// Streams, distributed over the connections.
	Streams int `json:"streams"`
	// Calls per second of an open loop; 0 for a closed loop.
	Rate float64 `json:"rate"`
	// Seconds of the warm-up and of the measured window.
	Warmup  float64 `json:"warmup"`
	Seconds float64 `json:"seconds"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

func run() error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	calls, err := readWorkload(j.Workload)
	if err != nil {
		return err
	}
	check, err := newChecker(j.Check, j.Path)
	if err != nil {
		return err
	}
	conns, err := connect(j)
	if err != nil {
		return err
	}
	begin := time.Now().Add(time.Duration(j.Warmup * float64(time.Second)))
	l := &load{job: j, calls: calls, check: check, conns: conns,
		window: window{begin, begin.Add(time.Duration(j.Seconds * float64(time.Second)))}}
	time.AfterFunc(time.Until(begin), func() { fmt.Println("begin") })
	switch {
	case j.Transport == "grpc-stream":
		err = l.streams()
	case j.Rate > 0:
		err = l.open()
	default:
		err = l.closed()
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.recorders.summary(l.window))
}

func connect(j job) ([]*grpc.ClientConn, error) {
	if j.Transport == "http" {
		return nil, nil
	}
	conns := make([]*grpc.ClientConn, j.Connections)
	for i := range conns {
		var err error
		if conns[i], err = dial(j.Target); err != nil {
			return nil, err
		}
	}
	return conns, nil
}

// load is the state of one run.
type load struct {
	job       job
	calls     []call
	check     checker
	conns     []*grpc.ClientConn
	window    window
	recorders recorders
	turn      atomic.Uint64
}

func (l *load) next() *call { return &l.calls[(l.turn.Add(1)-1)%uint64(len(l.calls))] }

func (l *load) sender(i int) (sender, error) {
	if l.job.Transport == "http" {
		return httpSender(l.job.Target, l.job.Method, l.job.ContentType)
	}
	return grpcSender(l.conns[i%len(l.conns)], l.job.Method), nil
}

// each runs work for every sender and waits until the window is over.
func (l *load) each(n int, work func(send sender, r *recorder)) error {
	var group sync.WaitGroup
	for i := range n {
		send, err := l.sender(i)
		if err != nil {
			return err
		}
		r := l.recorders.add()
		group.Add(1)
		go func() {
			defer group.Done()
			work(send, r)
		}()
	}
	group.Wait()
	return nil
}

func (l *load) exchange(send sender, r *recorder, from time.Time) {
	c := l.next()
	response, err := send(c.request)
	received := time.Now()
	if err == nil {
		err = l.check(response, c.expected)
	}
	r.record(l.window, from, received, err)
}

// closed keeps InFlight calls in flight: a sender sends its next call when it has received a response.
func (l *load) closed() error {
	return l.each(l.job.InFlight, func(send sender, r *recorder) {
		for time.Now().Before(l.window.end) {
			l.exchange(send, r, time.Now())
		}
	})
}

// open sends calls at fixed times, whether or not earlier calls have been answered. Latency counts from those times, so
// it includes the time that a call waits for earlier ones (no coordinated omission). InFlight limits the calls at once.
func (l *load) open() error {
	due := make(chan time.Time, 1<<16)
	go func() {
		defer close(due)
		start := time.Now()
		for i := 0; ; i++ {
			at := start.Add(time.Duration(float64(i) / l.job.Rate * float64(time.Second)))
			if at.After(l.window.end) {
				return
			}
			sleepUntil(at)
			due <- at
		}
	}()
	return l.each(l.job.InFlight, func(send sender, r *recorder) {
		for at := range due {
			l.exchange(send, r, at)
		}
	})
}

// sleepUntil sleeps in the kernel, because Go's timers are accurate to about a millisecond only.
func sleepUntil(at time.Time) {
	if left := time.Until(at); left > 0 {
		pause := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&pause, nil)
	}
}
