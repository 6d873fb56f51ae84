// Answers to ../crosscheck.rs, by an implementation of the same code that shares nothing with Weft's.
//
// A request is five numbers (little-endian, 32 bits) and bytes; the answer is bytes alone.
//
//	0 n k1 k2 symbol, and k1 · k2 symbols, row by row:
//	    the whole grid G1 · M · G2ᵀ, n · n symbols, row by row.
//	1 n k length given, and as often as given an index (32 bits) and length bytes:
//	    all n shards of a code with k data shards, from those.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/reedsolomon"
)

// Making one inverts a matrix.
var encoders = map[[2]int]reedsolomon.Encoder{}

func encoder(k, n int) (reedsolomon.Encoder, error) {
	if made, ok := encoders[[2]int{k, n}]; ok {
		return made, nil
	}
	made, err := reedsolomon.New(k, n-k)
	encoders[[2]int{k, n}] = made
	return made, err
}

// grid multiplies by G2ᵀ along the rows, and by G1 along the columns.
func grid(n, k1, k2, symbol int, source []byte) ([][]byte, error) {
	along, err := encoder(k2, n)
	if err != nil {
		return nil, err
	}
	across, err := encoder(k1, n)
	if err != nil {
		return nil, err
	}
	cells := make([][]byte, n*n)
	for at := range cells {
		cells[at] = make([]byte, symbol)
	}
	for row := range k1 {
		for column := range k2 {
			copy(cells[row*n+column], source[(row*k2+column)*symbol:])
		}
		if err := along.Encode(cells[row*n : (row+1)*n]); err != nil {
			return nil, err
		}
	}
	for column := range n {
		shards := make([][]byte, n)
		for row := range shards {
			shards[row] = cells[row*n+column]
		}
		if err := across.Encode(shards); err != nil {
			return nil, err
		}
	}
	return cells, nil
}

func complete(n, k int, shards [][]byte) ([][]byte, error) {
	code, err := encoder(k, n)
	if err != nil {
		return nil, err
	}
	return shards, code.Reconstruct(shards)
}

func answer(in io.Reader) ([][]byte, error) {
	var request [5]uint32
	if err := binary.Read(in, binary.LittleEndian, &request); err != nil {
		return nil, err
	}
	n, k, third, fourth := int(request[1]), int(request[2]), int(request[3]), int(request[4])
	switch request[0] {
	case 0:
		source := make([]byte, k*third*fourth)
		if _, err := io.ReadFull(in, source); err != nil {
			return nil, err
		}
		return grid(n, k, third, fourth, source)
	case 1:
		shards := make([][]byte, n)
		for range fourth {
			var index uint32
			if err := binary.Read(in, binary.LittleEndian, &index); err != nil {
				return nil, err
			}
			shards[index] = make([]byte, third)
			if _, err := io.ReadFull(in, shards[index]); err != nil {
				return nil, err
			}
		}
		return complete(n, k, shards)
	}
	return nil, fmt.Errorf("no such request: %d", request[0])
}

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	for {
		parts, err := answer(in)
		if errors.Is(err, io.EOF) {
			return
		}
		for _, part := range parts {
			out.Write(part)
		}
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "crosscheck:", err)
			os.Exit(1)
		}
	}
}
