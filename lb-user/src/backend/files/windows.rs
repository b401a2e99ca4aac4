//! PowerShell for Windows: a loopback adapter, and the weak host model.

use super::{Setup, addresses, heading};

const NOTES: [&str; 10] = [
    "",
    "    powershell -ExecutionPolicy Bypass -File FILE            sets it up; again changes nothing",
    "    powershell -ExecutionPolicy Bypass -File FILE -Undo      takes the VIPs away again",
    "",
    "As an administrator, on Windows Server 2012 or later. All of it survives a reboot. It cannot make",
    "a loopback adapter by itself everywhere: where there is none, it asks the module LoopbackAdapter,",
    "and else says how. The service must listen on the VIPs (IIS: bindings for them or for *); Windows'",
    "firewall must let it. Windows answers ARP and neighbour discovery only for addresses of the",
    "interface that is asked, so the VIPs are not claimed. What is there in the end, the table at the",
    "end shows.",
];

const BODY: &str = r#"
$ErrorActionPreference = 'Stop'

function Get-Loopback {
    Get-NetAdapter -IncludeHidden | Where-Object InterfaceDescription -Match 'Loopback Adapter' |
        Select-Object -First 1
}

function Get-LanAlias {
    if ($Lan) { return $Lan }
    Get-NetRoute -DestinationPrefix '0.0.0.0/0', '::/0' -ErrorAction SilentlyContinue |
        Select-Object -ExpandProperty InterfaceAlias -Unique
}

$adapter = Get-Loopback

if ($Undo) {
    if ($adapter) {
        Get-NetIPAddress -InterfaceIndex $adapter.ifIndex -ErrorAction SilentlyContinue |
            Where-Object IPAddress -In $Vips | Remove-NetIPAddress -Confirm:$false
    }
    Write-Output 'The VIPs are gone; the adapter and the weak host model stay.'
    exit 0
}

if (-not $adapter) {
    if (-not (Get-Command New-LoopbackAdapter -ErrorAction SilentlyContinue)) {
        Write-Error ('No loopback adapter: run hdwwiz.exe, choose Network adapters, Microsoft, ' +
            'Microsoft KM-TEST Loopback Adapter, or Install-Module LoopbackAdapter; then run this again.')
    }
    New-LoopbackAdapter -Name 'lb' -Force | Out-Null
    $adapter = Get-Loopback
}

$aliases = @(Get-LanAlias)
if (-not $aliases) {
    Write-Error 'No interface with a default route: name it, as in -Lan Ethernet.'
}

# A packet to a VIP, which is the loopback adapter's, arrives on the LAN; its answer leaves there.
foreach ($family in $Vips | ForEach-Object { if ($_ -like '*:*') { 'IPv6' } else { 'IPv4' } } |
        Select-Object -Unique) {
    foreach ($alias in $aliases) {
        Set-NetIPInterface -InterfaceAlias $alias -AddressFamily $family `
            -WeakHostReceive Enabled -WeakHostSend Enabled
    }
    # Nobody is asked whether a VIP is free: the balancer has it. No route prefers this interface.
    Set-NetIPInterface -InterfaceIndex $adapter.ifIndex -AddressFamily $family `
        -WeakHostReceive Enabled -WeakHostSend Enabled -DadTransmits 0 `
        -AutomaticMetric Disabled -InterfaceMetric 254
}
Set-DnsClient -InterfaceIndex $adapter.ifIndex -RegisterThisConnectionsAddress $false

# Each VIP alone, and never as the source of a connection that this machine opens.
foreach ($vip in $Vips) {
    $length = if ($vip -like '*:*') { 128 } else { 32 }
    $there = Get-NetIPAddress -InterfaceIndex $adapter.ifIndex -IPAddress $vip -ErrorAction SilentlyContinue
    if (-not $there) {
        New-NetIPAddress -InterfaceIndex $adapter.ifIndex -IPAddress $vip -PrefixLength $length `
            -SkipAsSource $true | Out-Null
    }
}

Get-NetIPAddress -InterfaceIndex $adapter.ifIndex | Where-Object IPAddress -In $Vips |
    Format-Table IPAddress, PrefixLength, SkipAsSource, AddressState
"#;

pub(super) fn text(setup: &Setup) -> String {
    let text = heading("#", "PowerShell, for Windows.", setup, &NOTES).replace("# \n", "#\n");
    let vips = list(addresses(setup).map(|address| address.to_string()));
    let lan = list(setup.interfaces.iter().cloned());
    format!("{text}param([string[]]$Lan = @({lan}), [switch]$Undo)\n\n$Vips = @({vips})\n{BODY}")
}

/// Strings as PowerShell writes them when nothing in them means anything.
fn list(words: impl Iterator<Item = String>) -> String {
    words.map(|word| format!("'{}'", word.replace('\'', "''"))).collect::<Vec<_>>().join(", ")
}
