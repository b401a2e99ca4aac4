//! A playbook of Ansible, with the script in it.

use super::{Setup, heading};

const TASKS: &str = "- name: Real servers behind lb
  hosts: real_servers
  become: true
  gather_facts: false
  tasks:
    - name: Run the script, which changes what is not yet right, and checks
      ansible.builtin.command:
        cmd: sh /usr/local/sbin/lb-backend apply --check --persist
      register: applied
      changed_when: \"'nothing to change' not in applied.stdout\"
";

/// The tasks. The script is not a template: what looks like one in it, Ansible leaves alone.
pub(super) fn text(setup: &Setup, script: &str) -> String {
    let notes = [
        "For the hosts of the group real_servers: `ansible-playbook -i HOSTS FILE`. To take all back:",
        "`ansible real_servers -b -a 'sh /usr/local/sbin/lb-backend undo'`.",
    ];
    let text = heading("#", "A playbook of Ansible.", setup, &notes);
    let (play, run) = TASKS.split_once("    - name: Run").unwrap_or((TASKS, ""));
    format!("{text}{play}{}    - name: Run{run}", copy(script))
}

fn copy(script: &str) -> String {
    let mut text = String::from(
        "    - name: Copy the script
      ansible.builtin.copy:
        dest: /usr/local/sbin/lb-backend
        mode: \"0755\"
        content: !unsafe |
",
    );
    for line in script.lines() {
        if !line.is_empty() {
            text += "          ";
        }
        text += line;
        text.push('\n');
    }
    text
}
