package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// checker returns an error if a response is wrong.
type checker func(response, expected []byte) error

// floatTolerance is the largest allowed difference between a predicted rating and the one in double precision.
const floatTolerance = 1e-3

// newChecker makes a checker.
//
//	bytes:    the response is the expected bytes
//	contains: the expected bytes occur in the response
//	fields:   the protobuf fields at path, each after its length, are the expected bytes in order
//	floats:   the packed floats of field 1 equal the expected ones within floatTolerance
func newChecker(kind string, path []uint64) (checker, error) {
	switch kind {
	case "bytes":
		return func(response, expected []byte) error {
			if !bytes.Equal(response, expected) {
				return fmt.Errorf("response of %d bytes differs from the expected %d", len(response), len(expected))
			}
			return nil
		}, nil
	case "contains":
		return func(response, expected []byte) error {
			if !bytes.Contains(response, expected) {
				return fmt.Errorf("expected content missing from a response of %d bytes: %.200q", len(response), response)
			}
			return nil
		}, nil
	case "fields":
		return func(response, expected []byte) error {
			rest, err := matchFields(response, path, expected)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("response ends early: %d expected bytes are missing", len(rest))
			}
			return err
		}, nil
	case "floats":
		return matchFloats, nil
	}
	return nil, fmt.Errorf("unknown check %q", kind)
}

// walk calls visit for every field of a protobuf message; payload is nil unless the field is length-delimited.
func walk(message []byte, visit func(number uint64, payload []byte) error) error {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return fmt.Errorf("broken tag")
		}
		message = message[n:]
		size := 0
		var payload []byte
		switch tag & 7 {
		case 0:
			_, size = binary.Uvarint(message)
		case 1:
			size = 8
		case 5:
			size = 4
		case 2:
			length, n := binary.Uvarint(message)
			if n <= 0 || uint64(len(message)-n) < length {
				return fmt.Errorf("field %d cut short", tag>>3)
			}
			payload = message[n : n+int(length)]
			size = n + int(length)
		default:
			return fmt.Errorf("wire type %d", tag&7)
		}
		if size <= 0 || size > len(message) {
			return fmt.Errorf("field %d cut short", tag>>3)
		}
		if err := visit(tag>>3, payload); err != nil {
			return err
		}
		message = message[size:]
	}
	return nil
}

// matchFields compares every value at path with the front of expected and returns the rest of expected.
func matchFields(message []byte, path []uint64, expected []byte) ([]byte, error) {
	err := walk(message, func(number uint64, payload []byte) error {
		if number != path[0] || payload == nil {
			return nil
		}
		if len(path) > 1 {
			var err error
			expected, err = matchFields(payload, path[1:], expected)
			return err
		}
		length, n := binary.Uvarint(expected)
		if n <= 0 || uint64(len(expected)-n) < length || !bytes.Equal(payload, expected[n:n+int(length)]) {
			return fmt.Errorf("%.40q is not the expected value", payload)
		}
		expected = expected[n+int(length):]
		return nil
	})
	return expected, err
}

func matchFloats(response, expected []byte) error {
	found := false
	err := walk(response, func(number uint64, payload []byte) error {
		if number != 1 {
			return nil
		}
		found = true
		if len(payload) != len(expected) {
			return fmt.Errorf("%d floats instead of %d", len(payload)/4, len(expected)/4)
		}
		for i := 0; i < len(payload); i += 4 {
			got := math.Float32frombits(binary.LittleEndian.Uint32(payload[i:]))
			want := math.Float32frombits(binary.LittleEndian.Uint32(expected[i:]))
			if !(math.Abs(float64(got-want)) <= floatTolerance) {
				return fmt.Errorf("float %d is %g instead of %g", i/4, got, want)
			}
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("no floats in a response of %d bytes", len(response))
	}
	return err
}
