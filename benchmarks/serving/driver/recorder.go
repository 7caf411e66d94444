package main

import (
	"sort"
	"sync"
	"time"
)

// recorder collects the latencies and failures of one sender inside the measured window.
type recorder struct {
	latencies []time.Duration
	failures  map[string]int
}

// window is the measured part of a run; calls that end outside it do not count.
type window struct {
	begin time.Time
	end   time.Time
}

func (r *recorder) record(w window, sent, received time.Time, err error) {
	if received.Before(w.begin) || received.After(w.end) {
		return
	}
	if err != nil {
		if r.failures == nil {
			r.failures = map[string]int{}
		}
		r.failures[err.Error()]++
		return
	}
	r.latencies = append(r.latencies, received.Sub(sent))
}

// recorders creates a recorder for every sender, so that senders share none.
type recorders struct {
	mutex sync.Mutex
	all   []*recorder
}

func (r *recorders) add() *recorder {
	one := &recorder{latencies: make([]time.Duration, 0, 1<<14)}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.all = append(r.all, one)
	return one
}

// result is what the driver prints; times are milliseconds.
type result struct {
	Responses int            `json:"responses"`
	Seconds   float64        `json:"seconds"`
	Rate      float64        `json:"rate"`
	Mean      float64        `json:"mean_ms"`
	P50       float64        `json:"p50_ms"`
	P90       float64        `json:"p90_ms"`
	P99       float64        `json:"p99_ms"`
	P999      float64        `json:"p999_ms"`
	Max       float64        `json:"max_ms"`
	Failures  map[string]int `json:"failures"`
}

func (r *recorders) summary(w window) result {
	var all []time.Duration
	out := result{Failures: map[string]int{}, Seconds: w.end.Sub(w.begin).Seconds()}
	for _, one := range r.all {
		all = append(all, one.latencies...)
		for text, count := range one.failures {
			out.Failures[text] += count
		}
	}
	out.Responses = len(all)
	out.Rate = float64(len(all)) / out.Seconds
	if len(all) == 0 {
		return out
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	var sum time.Duration
	for _, latency := range all {
		sum += latency
	}
	at := func(q float64) float64 { return ms(all[min(len(all)-1, int(q*float64(len(all))))]) }
	out.Mean = ms(sum) / float64(len(all))
	out.P50, out.P90, out.P99, out.P999, out.Max = at(.5), at(.9), at(.99), at(.999), ms(all[len(all)-1])
	return out
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
