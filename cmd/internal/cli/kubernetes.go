package cli

import "regexp"

var serviceVariable = regexp.MustCompile(`^([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// FromKubernetes says whether what follows a program's prefix in the name of a
// variable makes it one of those that Kubernetes gives to every pod beside a service
// that is called as the program is, or has a name that begins so: chat, chat-web.
// They are none of the program's.
func FromKubernetes(rest string) bool { return serviceVariable.MatchString(rest) }
