package cli

import "testing"

func TestFromKubernetes(t *testing.T) {
	for _, ours := range []string{"", "SERVER", "TLS_CERTIFICATE", "SERVICE", "PORTS", "EXPORT", "SERVICE_PORTS", "PORT_TCP", "PORT_80_HTTP", "port"} {
		if FromKubernetes(ours) {
			t.Errorf("%q is taken for a variable of Kubernetes", ours)
		}
	}
	for _, theirs := range []string{
		"PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT_50051_TCP", "PORT_50051_TCP_ADDR",
		"WEB_PORT", "WEB_SERVICE_HOST", "WEB_2_SERVICE_PORT_HTTPS", "WEB_PORT_80_TCP", "WEB_PORT_80_UDP_PROTO",
	} {
		if !FromKubernetes(theirs) {
			t.Errorf("%q is not taken for a variable of Kubernetes", theirs)
		}
	}
}
