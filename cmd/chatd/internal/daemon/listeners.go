package daemon

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"securechat/cmd/chatd/internal/settings"
)

// Listeners are the ports of a Daemon, bound and not yet served.
type Listeners struct {
	Chat  net.Listener
	Admin net.Listener // nil: there is none
}

// Listen binds the addresses that the settings name. A port 0 becomes any that
// is free.
func Listen(s settings.Settings) (*Listeners, error) {
	l := &Listeners{}
	var err error
	if l.Chat, err = listen("--listen", s.Listen); err != nil {
		return nil, err
	}
	if s.AdminListen == "" {
		return l, nil
	}
	if l.Admin, err = listen("--admin-listen", s.AdminListen); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func listen(flag, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is in use, perhaps by another chatd: stop that one, or choose another port, such as %s", flag, address, anyPort(address))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: this user may not listen on %s: choose a port above 1023", flag, address)
	case err != nil:
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", flag, address, err)
	}
	return listener, nil
}

func anyPort(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "0"
	}
	return net.JoinHostPort(host, "0")
}

// Addresses says where the listeners are. admin is empty where there is none.
func (l *Listeners) Addresses() (listen, admin string) {
	if l.Admin != nil {
		admin = l.Admin.Addr().String()
	}
	return l.Chat.Addr().String(), admin
}

// Close lets go of the ports.
func (l *Listeners) Close() {
	_ = l.Chat.Close() // there is nothing to lose in a listener
	if l.Admin != nil {
		_ = l.Admin.Close()
	}
}
