package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"securechat/auth"
	"securechat/cmd/chatd/internal/sandbox"
	chatpb "securechat/proto/chat"
)

// A deafClient is a connection whose client lets nothing through of what its
// streams send it. It sends until each handler is stuck with an acknowledgement.
type deafClient struct {
	conn     *tls.Conn
	frames   *http2.Framer
	message  []byte
	sessions []auth.Session // as the operator sees them

	reading   sync.WaitGroup
	delivered int       // messages and ends that came through; of the goroutine that reads until it has ended
	closed    time.Time // by the server; likewise
}

// Of deafText bytes a first batch of messages fits the server's window for a
// stream (64 KiB), and as many acknowledgements what it queues for one; the
// second fits the least update of that window (a quarter).
const (
	deafText   = 8180
	deafFirst  = 7
	deafSecond = 2
)

// deafClient connects. It is closed with the test at the latest.
func (c *citizen) deafClient() *deafClient {
	t := c.town.t
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(c.town.roots[0].Certificate())
	conn, err := tls.Dial("tcp", c.town.d.listen, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: sandbox.ServerName, RootCAs: roots, NextProtos: []string{"h2"},
		Certificates: []tls.Certificate{c.issued.TLS()},
	})
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&chatpb.ChatMessage{Message: strings.Repeat("x", deafText)})
	if err != nil {
		t.Fatal(err)
	}
	d := &deafClient{conn: conn, frames: http2.NewFramer(conn, conn)}
	d.message = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	t.Cleanup(func() {
		_ = conn.Close()
		d.reading.Wait()
	})
	return d
}

func (d *deafClient) from() string { return d.conn.LocalAddr().String() }

// open opens n streams and sends the first batch on each. The reader sends the
// second as soon as it may.
func (d *deafClient) open(n int, token string) error {
	if _, err := io.WriteString(d.conn, http2.ClientPreface); err != nil {
		return err
	}
	if err := d.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		return err
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := range n {
		block.Reset()
		for _, field := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":path", chatpb.Chat_ChatStream_FullMethodName}, {":authority", sandbox.ServerName},
			{"content-type", "application/grpc"}, {"te", "trailers"}, {"authorization", "Bearer " + token},
		} {
			if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
				return err
			}
		}
		id := uint32(2*i + 1)
		if err := d.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
			return err
		}
		if err := d.send(id, deafFirst); err != nil {
			return err
		}
	}
	d.reading.Go(d.read)
	return nil
}

func (d *deafClient) send(stream uint32, n int) error {
	for range n {
		if err := d.frames.WriteData(stream, false, d.message); err != nil {
			return err
		}
	}
	return nil
}

func (d *deafClient) read() {
	sent := make(map[uint32]bool)
	for {
		frame, err := d.frames.ReadFrame()
		if err != nil {
			d.closed = time.Now()
			return
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				d.delivered++
			}
		case *http2.DataFrame, *http2.RSTStreamFrame:
			d.delivered++
		case *http2.WindowUpdateFrame:
			if id := frame.StreamID; id != 0 && !sent[id] {
				sent[id] = true
				_ = d.send(id, deafSecond) // an error is that the server has closed the connection
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = d.frames.WritePing(true, frame.Data) // likewise
			}
		}
	}
}

// leftAfter waits until the server has closed the connection, and returns how long
// after the event that was. Nothing may have come through before.
func (d *deafClient) leftAfter(event time.Time) (time.Duration, error) {
	_ = d.conn.SetReadDeadline(time.Now().Add(patience)) // an error is that it is closed
	d.reading.Wait()
	if d.delivered != 0 {
		return 0, fmt.Errorf("%d messages or ends came through to a client that takes none", d.delivered)
	}
	return d.closed.Sub(event), nil
}
