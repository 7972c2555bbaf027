"""From the policy to iptables rules."""
