package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"securechat/auth/authtest"
)

const check = "/grpc.health.v1.Health/Check"

// A client is a connection of raw HTTP/2 frames that keeps to nothing.
type client struct {
	*http2.Framer
	t    *testing.T
	conn net.Conn
	next uint32
}

func abuse(t *testing.T, address string, user *authtest.User, settings ...http2.Setting) *client {
	t.Helper()
	conn, err := tls.Dial("tcp", address, clientTLS(user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := &client{Framer: http2.NewFramer(conn, conn), t: t, conn: conn, next: 1}
	if err := c.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return c
}

// open begins a call and returns its stream.
func (c *client) open(path, token string, more ...[2]string) uint32 {
	c.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":path", path}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	}
	fields = append(fields, more...)
	if token != "" {
		fields = append(fields, [2]string{"authorization", "Bearer " + token})
	}
	for _, field := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	stream := c.next
	c.next += 2
	// An error is that the server has closed the connection, which the caller sees.
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
	return stream
}

// message frames a message of gRPC.
func message(body []byte) []byte {
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	return append(framed, body...)
}

// closed reads until the server closes the connection.
func (c *client) closed() {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	var timeout net.Error
	if _, err := io.Copy(io.Discard, c.conn); errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("the server keeps the connection")
	}
}

// sip takes what comes on a stream a portion at a time, by giving its window back so
// slowly, until it has enough. It returns io.EOF when the stream ends before, and
// another error when the connection does.
func (c *client) sip(stream, portion uint32, every time.Duration, enough int) (got int, err error) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	slowly := time.NewTicker(every)
	defer slowly.Stop()
	for got < enough {
		frame, err := c.ReadFrame()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.t.Fatalf("after %d bytes nothing comes any more", got)
			}
			return got, fmt.Errorf("the connection: %w", err)
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			got += len(frame.Data())
			<-slowly.C
			_ = c.WriteWindowUpdate(stream, portion) // an error is that the server has closed the connection
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				return got, io.EOF
			}
		}
	}
	return got, nil
}
