package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// bytesCodec passes messages through as bytes: requests were serialised before the run.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// windowBytes is a fixed flow-control window; without it grpc-go would keep measuring the path with pings.
const windowBytes = 4 << 20

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
}

// sender sends one request and waits for the response; only one goroutine may use it at a time.
type sender func(request []byte) ([]byte, error)

func grpcSender(conn *grpc.ClientConn, method string) sender {
	return func(request []byte) ([]byte, error) {
		var response []byte
		err := conn.Invoke(context.Background(), method, &request, &response)
		return response, err
	}
}

// httpSender keeps one HTTP/1.1 connection open. It supports only responses with a Content-Length.
func httpSender(target, path, contentType string) (sender, error) {
	conn, err := net.Dial("tcp", target)
	if err != nil {
		return nil, err
	}
	reader := bufio.NewReaderSize(conn, 64<<10)
	head := "POST " + path + " HTTP/1.1\r\nHost: " + target + "\r\nContent-Type: " + contentType + "\r\nContent-Length: "
	var out []byte
	return func(request []byte) ([]byte, error) {
		out = append(out[:0], head...)
		out = strconv.AppendInt(out, int64(len(request)), 10)
		out = append(append(out, "\r\n\r\n"...), request...)
		if _, err := conn.Write(out); err != nil {
			return nil, err
		}
		return readAnswer(reader)
	}, nil
}

func readAnswer(reader *bufio.Reader) ([]byte, error) {
	status, err := reader.ReadString('\n')
	if err != nil {
		return nil, err
	}
	length := -1
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "content-length") {
			length, err = strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, fmt.Errorf("response without Content-Length")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(reader, body); err != nil {
		return nil, err
	}
	if !strings.Contains(status, " 200 ") {
		return nil, fmt.Errorf("%s: %.120s", strings.TrimSpace(status), body)
	}
	return body, nil
}
