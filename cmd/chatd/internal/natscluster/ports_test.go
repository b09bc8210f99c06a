package natscluster

import "testing"

// No connection is given one of the ports before its server listens.
func TestThePortsOfTheServersAreNoConnections(t *testing.T) {
	addresses, err := FreeAddresses(5)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, address := range addresses {
		if seen[address.Port] || address.Port < leastPort || address.Port >= beyondPorts {
			t.Errorf("the ports are %v", addresses)
		}
		seen[address.Port] = true
	}
}
