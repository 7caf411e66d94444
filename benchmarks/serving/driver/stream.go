package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// StreamRecommendRequest and StreamRecommendResponse: field 1 is the request id, field 2 the message.
const (
	idTag     = 1<<3 | 2
	bodyTag   = 2<<3 | 2
	idLength  = 4
	bodyField = 2
)

// slot holds one message in flight on a stream; its number, written in letters, is the request id.
type slot struct {
	id   [idLength]byte
	call *call
	sent time.Time
	busy bool
}

// streams keeps InFlight messages in flight on each of Streams bidirectional streams.
func (l *load) streams() error {
	var group sync.WaitGroup
	failed := make(chan error, l.job.Streams)
	for i := range l.job.Streams {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := l.stream(l.conns[i%len(l.conns)]); err != nil {
				failed <- err
			}
		}()
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (l *load) stream(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	description := &grpc.StreamDesc{StreamName: "load", ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(ctx, description, l.job.Method)
	if err != nil {
		return err
	}
	slots := make([]slot, l.job.InFlight)
	for i := range slots {
		copy(slots[i].id[:], fmt.Sprintf("%04d", i))
		if err := l.post(stream, &slots[i]); err != nil {
			return err
		}
	}
	r := l.recorders.add()
	for time.Now().Before(l.window.end) {
		var response []byte
		if err := stream.RecvMsg(&response); err != nil {
			return err
		}
		s, err := l.settle(slots, response, r)
		if err != nil {
			return err
		}
		if err := l.post(stream, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) post(stream grpc.ClientStream, s *slot) error {
	s.call = l.next()
	message := make([]byte, 0, len(s.call.request)+16)
	message = append(message, idTag, idLength)
	message = append(message, s.id[:]...)
	message = append(message, bodyTag)
	message = binary.AppendUvarint(message, uint64(len(s.call.request)))
	message = append(message, s.call.request...)
	s.busy = true
	s.sent = time.Now()
	return stream.SendMsg(&message)
}

// settle finds the slot of a response and checks the response.
func (l *load) settle(slots []slot, response []byte, r *recorder) (*slot, error) {
	received := time.Now()
	var s *slot
	var body []byte
	err := walk(response, func(number uint64, payload []byte) error {
		switch number {
		case 1:
			i, err := strconv.Atoi(string(payload))
			if err != nil || i < 0 || i >= len(slots) {
				return fmt.Errorf("unknown request id %.20q", payload)
			}
			s = &slots[i]
		case bodyField:
			body = payload
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s == nil || !s.busy {
		return nil, fmt.Errorf("a response to no request in flight")
	}
	s.busy = false
	if body == nil {
		err = fmt.Errorf("an error on the stream: %.120q", response)
	} else {
		err = l.check(body, s.call.expected)
	}
	r.record(l.window, s.sent, received, err)
	return s, nil
}
