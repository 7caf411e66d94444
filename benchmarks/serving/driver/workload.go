package main

import (
	"encoding/binary"
	"fmt"
	"os"
)

// call is one serialised request and the content of the right response.
type call struct {
	request  []byte
	expected []byte
}

// readWorkload reads calls from a file of (u32 length, request, u32 length, expected), little-endian.
func readWorkload(path string) ([]call, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var calls []call
	next := func() ([]byte, error) {
		if len(raw) < 4 {
			return nil, fmt.Errorf("%s: cut short", path)
		}
		n := int(binary.LittleEndian.Uint32(raw))
		if len(raw) < 4+n {
			return nil, fmt.Errorf("%s: cut short", path)
		}
		field := raw[4 : 4+n]
		raw = raw[4+n:]
		return field, nil
	}
	for len(raw) > 0 {
		request, err := next()
		if err != nil {
			return nil, err
		}
		expected, err := next()
		if err != nil {
			return nil, err
		}
		calls = append(calls, call{request, expected})
	}
	if len(calls) == 0 {
		return nil, fmt.Errorf("%s: no calls", path)
	}
	return calls, nil
}
